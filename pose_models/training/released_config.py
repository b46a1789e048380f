"""The run configuration that CosyPose saves beside a checkpoint (cosypose.md section 4.4), read without running it.

The file is YAML of a Python object. Tags that name Python types are read as what they hold: an object or a dictionary
as a mapping, tuples and calls as lists, a path as its text. Nothing is imported and nothing is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pose_models.files import InputError


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML in which Python's tags are transparent."""


def _plain(loader: _PlainLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        content = loader.construct_mapping(node, deep=True)
        made = suffix.startswith(("object/new:", "object/apply:"))  # from arguments and a state
        return content.get("state", content.get("dictitems", content)) if made else content
    if isinstance(node, yaml.SequenceNode):
        parts = loader.construct_sequence(node, deep=True)
        return "/".join(map(str, parts)).replace("//", "/") if "Path" in suffix else parts
    return node.value or suffix  # `!!python/name:torch.float32 ''`


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_run_config(path: str | Path) -> dict[str, Any]:
    """The fields of a saved configuration, those of its object where it is one.

    Raises:
        InputError: missing file, no YAML, or no fields in it.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; the release keeps it beside its checkpoint") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise InputError(f"{path}: unreadable configuration ({' '.join(str(error).split())[:160]})") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"{path}: no configuration of a training of CosyPose; it has no fields")
    return content
