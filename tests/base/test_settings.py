"""Settings: errors are one sentence with the key's path and the nearest valid name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from pose_models.files import InputError
from pose_models.settings import Settings, flatten, parse_overrides, resolve, validate


class Shards(Settings):
    count: int = 3


class Made(Settings):
    source: Literal["demo"]
    images: int = 1


class Photos(Settings):
    source: Literal["photos"]
    folder: str | None = None
    shards: Shards | None = None
    look: Literal["plain", "random"] = "plain"


class Top(Settings):
    gpus: int = 1
    datasets: dict[str, Annotated[Made | Photos, Field(discriminator="source")]] = Field(default_factory=dict)


SENTENCES: list[tuple[dict[str, Any], str]] = [
    ({"gpu": 1}, "c.yaml: gpu is not a known key; did you mean 'gpus'?"),
    ({"gpus": "x"}, "c.yaml: gpus: input should be a valid integer, unable to parse string as an integer, got 'x'"),
    (
        {"datasets": {"demo": {"source": "demo", "image": 1}}},
        "c.yaml: datasets.demo.image is not a known key; did you mean 'images'?",
    ),
    ({"datasets": {"demo": {"images": 1}}}, "c.yaml: datasets.demo.source is missing"),
    ({"datasets": {"demo": {"source": "dmo"}}}, "c.yaml: datasets.demo: 'dmo' is not known; did you mean 'demo'?"),
    (
        {"datasets": {"real": {"source": "photos", "shards": {"cont": 3}}}},
        "c.yaml: datasets.real.shards.cont is not a known key; did you mean 'count'?",
    ),
    (
        {"datasets": {"demo": {"source": "photos", "look": "plane"}}},
        "c.yaml: datasets.demo.look: input should be 'plain' or 'random', got 'plane'",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), SENTENCES)
def test_a_wrong_setting_gives_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        validate(Top, values, "c.yaml")
    assert str(error.value) == sentence


def test_flatten_is_the_inverse_of_parse_overrides() -> None:
    values = {"train": {"steps": 100, "lr": 1e-3, "name": "1", "sizes": [1, 2]}, "seed": None, "fast": True}
    assert parse_overrides(flatten(values)) == values


def test_an_override_replaces_a_default_and_nothing_else() -> None:
    resolved = resolve(Shards, ["count=5"])
    assert resolved == Shards(count=5)
    assert resolved.digest() != Shards().digest()


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="expected key=value"):
        parse_overrides(["count"])
