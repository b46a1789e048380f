"""Numbers that papers publish: one YAML file per paper in `published/`, with its source (docs/tables.md).

Read with pydantic and yaml alone, so that a graph can be planned from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from pose_models.files import InputError
from pose_models.settings import Settings, did_you_mean, validate

FOLDER = Path(__file__).with_name("published")


class Column(Settings):
    """A column: a dataset, or one of its objects."""

    name: str = Field(description="heading")
    dataset: str = Field(description="name of the dataset, the folder under results/")
    score: str | None = Field(None, description="where the number stands in the scores; null: the table's `score`")


class Row(Settings):
    """A method with certain inputs: what it published and which of our runs stands beside."""

    name: str
    run: str | None = Field(None, description="our run, a name under `runs` of config.yaml; null: a comparator")
    runs: dict[str, str] = Field(default_factory=dict, description="the run of some datasets, where it is another one")
    values: tuple[float | None, ...] = Field((), description="published numbers, one per column; null where none is")
    mean: float | None = Field(None, description="published mean over the columns")
    seconds: float | None = Field(None, description="published mean seconds per image")

    def run_on(self, dataset: str) -> str | None:
        """Our run of a dataset."""
        return self.runs.get(dataset, self.run)


class Table(Settings):
    """One table of a paper."""

    title: str
    source: str = Field(description="where the numbers stand and under which conditions they were reached")
    protocol: str = Field("bop19", description="protocol whose scores stand beside the published numbers")
    score: str = Field(description="where the number stands in scores.json: keys joined by dots, per_object.5.ar")
    scale: float = Field(100, description="our numbers are multiplied by this")
    decimals: int = Field(1, ge=0)
    better: Literal["higher", "lower"] = "higher"
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_fit_the_columns(self) -> Table:
        for row in self.rows:
            if row.values and len(row.values) != len(self.columns):
                raise ValueError(f"row '{row.name}' has {len(row.values)} values for {len(self.columns)} columns")
            unknown = set(row.runs) - {column.dataset for column in self.columns}
            if unknown:
                raise ValueError(f"row '{row.name}': runs: no column is of dataset '{min(unknown)}'")
        return self


class Paper(Settings):
    """A paper and its tables."""

    title: str
    authors: str
    venue: str
    link: str
    tables: tuple[Table, ...] = Field(min_length=1)

    def results(self) -> Iterator[tuple[str, str, str]]:
        """Dataset, run and protocol of every result of ours that the tables show, once each."""
        seen = {
            (column.dataset, run, table.protocol)
            for table in self.tables
            for row in table.rows
            for column in table.columns
            if (run := row.run_on(column.dataset)) is not None
        }
        yield from sorted(seen)


def paper_names() -> list[str]:
    """Names of the papers whose numbers are here."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_paper(name: str) -> Paper:
    """A paper by name.

    Raises:
        InputError: there is none, or its file is wrong.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        raise InputError(f"paper '{name}' is not known{did_you_mean(name, paper_names())}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return validate(Paper, content or {}, str(path))
