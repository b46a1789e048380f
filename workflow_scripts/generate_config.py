"""Write config.yaml and its JSON schema from the typed settings in pose_models/workflow/."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_text
from pose_models.workflow import WorkflowSettings

HEADER = """\
# yaml-language-server: $schema=schemas/config.schema.json
# What to run. Every key is shown with its default. Change values here, or give a file with the keys that differ:
# `snakemake --configfile mine.yaml`. A change repeats just those steps that it concerns.
# Generated from pose_models/workflow/ by `make config`.
"""


def config_text() -> str:
    """The default config.yaml, each key explained where it comes first."""
    return HEADER + "\n".join(_lines(WorkflowSettings(), 0, set())) + "\n"


def schema_text() -> str:
    """JSON schema of config.yaml, for editors."""
    return json.dumps(WorkflowSettings.model_json_schema(), indent=1) + "\n"


def _lines(settings: BaseModel, indent: int, explained: set[str | None]) -> list[str]:
    """YAML lines of a model: comment, then key and value; models in dictionaries become nested maps."""
    margin = " " * indent
    lines: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if field.description not in explained:
            explained.add(field.description)
            lines += [
                "",
                *textwrap.wrap(
                    field.description or "", 116 - indent, initial_indent=margin + "# ", subsequent_indent=margin + "# "
                ),
            ]
        if isinstance(value, BaseModel):
            lines += [f"{margin}{name}:", *_lines(value, indent + 2, explained)]
        elif isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
            lines.append(f"{margin}{name}:")
            for key, item in value.items():
                lines += [f"{margin}  {key}:", *_lines(item, indent + 4, explained)]
        else:
            lines.append(f"{margin}{name}: {_plain(settings, name)}")
    return lines


def _plain(settings: BaseModel, name: str) -> str:
    value: Any = settings.model_dump(mode="json")[name]
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).replace("\n...\n", "").strip()


def main(arguments: argparse.Namespace) -> None:
    """Write the two files, or say which one is out of step."""
    for path, text in ((arguments.config, config_text()), (arguments.schema, schema_text())):
        if not arguments.check:
            write_text(path, text)
            print(f"wrote {path}")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise InputError(f"{path}: out of step with pose_models/workflow/; run `make config`")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--config", type=Path, default=Path("config.yaml"), help="default configuration to write")
    options.add_argument("--schema", type=Path, default=Path("schemas/config.schema.json"), help="schema to write")
    options.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of step")
    program.run(main, options)
