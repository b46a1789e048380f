"""Weights of the authors' release in this package's layout (cosypose.md section 4.4)."""

from __future__ import annotations

BLOCKS_PER_STAGE = (2, 3, 3, 5, 5, 6, 2)
_LAYERS = (
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_se_reduce", "_se_expand"),
    ("_project_conv", "_bn2"),
)


def released_modules() -> dict[str, str]:
    """The release's name of each layer of `backbones.efficientnet_b3`, by our name of it."""
    names = {"0.0": "_conv_stem", "0.1": "_bn0", "8.0": "_conv_head", "8.1": "_bn1"}
    number = 0
    for stage, count in enumerate(BLOCKS_PER_STAGE, start=1):
        layers = _LAYERS if stage > 1 else _LAYERS[1:]  # the first stage does not expand
        for index in range(count):
            for place, pair in enumerate(layers):
                parts = ("fc1", "fc2") if pair[0] == "_se_reduce" else ("0", "1")
                ours = [f"{stage}.{index}.block.{place}.{part}" for part in parts]
                names |= {name: f"_blocks.{number}.{theirs}" for name, theirs in zip(ours, pair, strict=True)}
            number += 1
    return names


def released_name(name: str, modules: dict[str, str]) -> str | None:
    """The release's name of a tensor; None for the counters of seen batches, which it may lack."""
    layer, _, kind = name.rpartition(".")
    return None if kind == "num_batches_tracked" else f"{modules[layer]}.{kind}"
