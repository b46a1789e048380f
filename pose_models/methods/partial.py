"""Partial results of a long inference: what a killed run has done is kept, and the next run goes on from there."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pose_models.files import exclusive, write_text


class PartialResults:
    """Records by name, appended to `.<out>.partial` line by line; deleted when the block ends without an error.

    Args:
        out: the final file; the partial one lies beside it and is held under a lock, so that an orphaned run and
            its successor never write together.
        key: digest of everything the records depend on; records of another key are dropped.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.path = out.with_name(f".{out.name}.partial")
        self.key = key
        self.done: dict[str, list[dict[str, Any]]] = {}
        self._stream: TextIO | None = None

    def __enter__(self) -> PartialResults:
        self._lock = exclusive(self.path)
        self._lock.__enter__()
        for line in self._lines():
            self.done[line["name"]] = line["records"]
        write_text(self.path, "".join(self._line(name, records) for name, records in self.done.items()))
        self._stream = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if kind is None:
            self.path.unlink(missing_ok=True)
        self._lock.__exit__(kind, value, traceback)

    def add(self, name: str, records: list[dict[str, Any]]) -> None:
        """Keep the records of one part; they are on disk when this returns."""
        if self._stream is None:
            raise RuntimeError("PartialResults is used outside its block")
        self.done[name] = records
        self._stream.write(self._line(name, records))
        self._stream.flush()

    def _line(self, name: str, records: list[dict[str, Any]]) -> str:
        return json.dumps({"key": self.key, "name": name, "records": records}) + "\n"

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        result = []
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # the line that the kill cut off
                break
            if line["key"] == self.key:
                result.append(line)
        return result
