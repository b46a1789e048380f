"""Typed settings: frozen models whose unknown keys are errors with the nearest valid name.

Every family of methods describes its settings as a `Settings` subclass with the paper's values as defaults. A run
names what differs as `section.key=value` overrides; `resolve` turns them into a full, validated model.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

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
    path = item["loc"]
    dotted = ".".join(str(part) for part in path)
    if item["type"] == "extra_forbidden":
        known = _field_names(model, path[:-1])
        return f"{where}: {dotted} is not a known key{did_you_mean(str(path[-1]), known)}"
    if item["type"] == "missing":
        return f"{where}: {dotted} is missing"
    if item["type"] == "value_error":
        return f"{where}: {dotted}: {item['ctx']['error']}" if dotted else f"{where}: {item['ctx']['error']}"
    return f"{where}: {dotted}: {item['msg']}, got {item['input']!r}"


def _field_names(model: type[BaseModel], path: Iterable[Any]) -> list[str]:
    """Names of the fields of the (nested) model that a pydantic error path leads to."""
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[part].annotation
        else:
            arguments = [a for a in getattr(current, "__args__", ()) if isinstance(a, type)]
            current = next((a for a in arguments if issubclass(a, BaseModel)), None)
    while not (isinstance(current, type) and issubclass(current, BaseModel)):
        nested = [a for a in getattr(current, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        if not nested:
            return []
        current = nested[0]
    return list(current.model_fields)


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
