"""Typed settings: frozen models whose unknown keys are errors with the nearest valid name.

Every family of methods describes its settings as a `Settings` subclass with the paper's values as defaults. A run
names what differs as `section.key=value` overrides; `resolve` turns them into a full, validated model.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pose_models.files import InputError, json_digest


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def digest(self) -> str:
        """Short digest of all values, for Snakemake params and provenance."""
        return json_digest(self.model_dump(mode="json"))


Model = TypeVar("Model", bound=BaseModel)


def settings_help(model: type[BaseModel]) -> str:
    """One line per setting, for `--help`: name, default, meaning."""
    fields = model.model_fields.items()
    return "\n".join(f"  {name}={json.dumps(field.default)}: {field.description}" for name, field in fields)


def validate(model: type[Model], values: Mapping[str, Any], where: str) -> Model:
    """Validate plain values (from YAML or JSON) against a settings model.

    Raises:
        InputError: one sentence: `where`, the key's path, what is wrong, the nearest valid name.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError("; ".join(_sentence(model, item, where) for item in error.errors()[:3])) from None


def _sentence(model: type[BaseModel], item: Any, where: str) -> str:
    path, known = _follow(model, item["loc"])
    dotted = ".".join(path)
    if item["type"] == "extra_forbidden":
        return f"{where}: {dotted} is not a known key{did_you_mean(path[-1], known)}"
    if item["type"] == "missing":
        return f"{where}: {dotted} is missing"
    if item["type"] == "value_error":
        return f"{where}: {dotted}: {item['ctx']['error']}" if dotted else f"{where}: {item['ctx']['error']}"
    if item["type"] == "union_tag_not_found":
        return f"{where}: {dotted}.{item['ctx']['discriminator'].strip(chr(39))} is missing"
    if item["type"] == "union_tag_invalid":
        known = [tag.strip(" '") for tag in item["ctx"]["expected_tags"].split(",")]
        return f"{where}: {dotted}: '{item['ctx']['tag']}' is not known{did_you_mean(item['ctx']['tag'], known)}"
    message = str(item["msg"])
    return f"{where}: {dotted}: {message[0].lower()}{message[1:]}, got {item['input']!r}"


def _follow(model: type[BaseModel], loc: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Follow a pydantic error path: the user's path (without the tags of unions) and the names known at its end."""
    current: Any = model
    path: list[str] = []
    known: list[str] = []
    for part in map(str, loc):
        current = _without_none(current)
        if _is_model(current):
            known = list(current.model_fields)
            current = current.model_fields[part].annotation if part in known else None
        elif get_origin(current) in (dict, list, tuple):
            current = next((a for a in reversed(get_args(current)) if a is not Ellipsis), None)
        else:  # a union; pydantic adds the chosen member's tag to the path, which the user never wrote
            current = next((m for m in _members(current) if part in _tags(m)), None)
            continue
        path.append(part)
    return path, known


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> list[type[BaseModel]]:
    """Models of a union (which may be wrapped in `Annotated`)."""
    return [m for argument in get_args(annotation) for m in ([argument] if _is_model(argument) else _members(argument))]


def _without_none(annotation: Any) -> Any:
    """`Model` for `Model | None`, anything else unchanged."""
    arguments = get_args(annotation)
    if len(arguments) == 2 and type(None) in arguments:
        return arguments[0] if arguments[1] is type(None) else arguments[1]
    return annotation


def _tags(model: type[BaseModel]) -> set[str]:
    """Values of the model's literal fields, one of which is its tag in a union."""
    literals = [f.annotation for f in model.model_fields.values() if get_origin(f.annotation) is Literal]
    return {str(value) for literal in literals for value in get_args(literal)}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' with the nearest of the known names, or the list of them if none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `["train.steps=100", "network.backbone=small"]` into nested plain values (values are YAML).

    Raises:
        InputError: an override without `=` or with an empty key.
    """
    nested: dict[str, Any] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not all(key.split(".")):
            raise InputError(f"--set {override}: expected key=value, for example train.steps=1000")
        *parents, last = key.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = yaml.safe_load(text)
    return nested


def resolve(model: type[Model], overrides: Iterable[str]) -> Model:
    """Defaults of `model` with `section.key=value` overrides applied and validated."""
    return validate(model, parse_overrides(overrides), "--set")


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The inverse of `parse_overrides`: nested values as sorted `section.key=value` strings (values as YAML flow)."""
    result: list[str] = []
    for key in sorted(values):
        value = values[key]
        if isinstance(value, Mapping):
            result += flatten(value, f"{prefix}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**6).replace("\n...\n", "").strip()
            result.append(f"{prefix}{key}={text}")
    return result
