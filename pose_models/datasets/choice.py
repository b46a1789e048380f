"""Which parts of a published dataset serve a purpose: its test scenes, its models, the scenes to train on.

Answers from the catalogue alone, so that a graph can be planned with nothing downloaded.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from pose_models.datasets.archives import parse_ids
from pose_models.datasets.catalogue import DatasetEntry, default_parts, published
from pose_models.files import InputError
from pose_models.settings import did_you_mean


@dataclasses.dataclass(frozen=True)
class Choice:
    """What of a published dataset is used.

    split, test: folder of the test scenes and the part that brings it; None for those that papers report.
    train: folders of training scenes; None for train_pbr, or the one there is; empty for none.
    scenes: of the training scenes only these ("0-4"); None for all.
    parts: what fetching the dataset as a whole fetches; None for what inference and training need.
    """

    name: str
    split: str | None = None
    test: str | None = None
    train: tuple[str, ...] | None = None
    scenes: str | None = None
    parts: tuple[str, ...] | None = None

    @property
    def entry(self) -> DatasetEntry:
        """The dataset's entry in the catalogue."""
        return published(self.name)

    @property
    def test_split(self) -> str:
        """Folder of the test scenes."""
        return self.split or self.entry.split

    def parts_for(self, use: Literal["targets", "models", "test"]) -> list[str]:
        """Parts that bring the targets, the models or the test scenes."""
        known = self.entry.parts
        if use == "test":
            candidates = [part for part in known if known[part].split == self.test_split]
            best = [part for part in candidates if known[part].needed_for == "inference"]
            return [self.test] if self.test else (best or candidates)[:1]
        needed = default_parts(self.entry, ["inference"])
        return [part for part in needed if ("models" in part if use == "models" else part == "base")]

    @property
    def training_parts(self) -> list[tuple[str, str]]:
        """Dataset and part of each folder of training scenes (LM-O is trained on images of LM)."""
        sources = [self.entry.training_from, self.name] if self.entry.training_from else [self.name]
        if self.train is None:
            found = [(source, part) for source in sources for part in default_parts(published(source), ["training"])]
            return [(source, part) for source, part in found if published(source).parts[part].scenes][:1]
        known = {part.split: (s, key) for s in sources for key, part in published(s).parts.items() if part.scenes}
        if wrong := [split for split in self.train if split not in known]:
            raise InputError(
                f"train: '{wrong[0]}' is not known{did_you_mean(wrong[0], [name for name in known if name])}"
            )
        return [known[split] for split in self.train]

    @property
    def training_scenes(self) -> list[str]:
        """Training scenes as `<dataset>/<split>/<scene>`."""
        chosen = None if self.scenes is None else set(parse_ids(self.scenes))
        return [
            f"{source}/{published(source).parts[key].split}/{number:06d}"
            for source, key in self.training_parts
            for number in published(source).parts[key].scenes or ()
            if chosen is None or number in chosen
        ]

    @property
    def parts_to_fetch(self) -> list[tuple[str, str]]:
        """Dataset and part of all that fetching the dataset as a whole fetches."""
        if self.parts is not None:
            return [(self.name, part) for part in self.parts]
        if self.entry.format != "bop":
            return [(self.name, part) for part in self.entry.parts]
        parts = [*self.parts_for("targets"), *self.parts_for("models"), *self.parts_for("test")]
        rest = [part for part in default_parts(self.entry, ["inference"]) if not self.entry.parts[part].split]
        parts += [part for part in rest if part not in parts]
        return [*((self.name, part) for part in parts), *self.training_parts]

    def check(self) -> None:
        """Refuse names that the catalogue does not know.

        Raises:
            InputError: a part, split or scene is not known.
        """
        for part in (*(self.parts or ()), *([self.test] if self.test else [])):
            if part not in self.entry.parts:
                raise InputError(f"part '{part}' is not known{did_you_mean(part, self.entry.parts)}")
        if self.entry.format == "bop" and self.training_parts and not self.training_scenes:
            raise InputError(f"scenes: '{self.scenes}' leaves no scene to train on")
