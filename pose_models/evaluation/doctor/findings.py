"""Findings: one per cause and place, with a count and a few examples, however often the cause occurs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from pose_models.evaluation.doctor.kinds import KINDS, ORDER, SEVERITIES, Kind, Severity

EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class Example:
    """One place where a finding was made; `weight` says how bad, larger is worse."""

    file: str
    record: str
    detail: str
    weight: float = 0.0


@dataclasses.dataclass
class Finding:
    """All places of one cause in one place (a split, a models folder, a targets file)."""

    code: str
    place: str
    count: int = 0
    examples: list[Example] = dataclasses.field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What the cause is."""
        return KINDS[self.code]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        examples = [{k: v for k, v in dataclasses.asdict(e).items() if k != "weight"} for e in self.examples]
        kind = self.kind
        return {"severity": kind.severity, "code": self.code, "place": self.place, "title": kind.title,
                "count": self.count, "examples": examples, "remedy": kind.remedy}  # fmt: skip

    def lines(self) -> list[str]:
        """The finding in words: a headline, the worst examples, the remedy."""
        times = f" ({self.count} times)" if self.count > 1 else ""
        shown = [": ".join(part for part in (e.file, e.record, e.detail) if part) for e in self.examples]
        return [f"{self.kind.severity}: {self.place}: {self.kind.title}{times}", *(f"    {text}" for text in shown),
                f"    to do: {self.kind.remedy}"]  # fmt: skip


class Findings:
    """Findings, gathered so that one cause takes one entry and little memory however often it occurs."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], Finding] = {}

    def add(self, code: str, place: str, file: object, record: str = "", detail: str = "", weight: float = 0.0) -> None:
        """Note one occurrence; the worst few are kept as examples, the first ones among equals."""
        self._merge(Finding(code, place, 1, [Example(str(file), record, detail, weight)]))

    def merge(self, others: Iterable[Finding]) -> None:
        """Take over findings of another process."""
        for finding in others:
            self._merge(finding)

    def _merge(self, other: Finding) -> None:
        finding = self._by_key.setdefault((other.code, other.place), Finding(other.code, other.place))
        finding.count += other.count
        # A stable sort: among equal weights the order of occurrence decides, which is the same in every run.
        finding.examples = sorted([*finding.examples, *other.examples], key=lambda e: -e.weight)[:EXAMPLES]

    def sorted(self) -> list[Finding]:
        """All findings: errors first, then by cause and place."""
        return sorted(self._by_key.values(), key=lambda f: (SEVERITIES.index(f.kind.severity), ORDER[f.code], f.place))

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._by_key.values())

    def counts(self) -> dict[Severity, int]:
        """Number of findings (causes, not occurrences) by severity."""
        return {s: sum(f.kind.severity == s for f in self._by_key.values()) for s in SEVERITIES}
