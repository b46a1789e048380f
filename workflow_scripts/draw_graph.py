"""Draw the graph of rules behind a target as SVG, rules in rows from first to last."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import InputError, write_text

WIDTH, ROW, BOX_HEIGHT, LETTER = 760, 62, 28, 7.6  # pixels
Edges = dict[str, set[str]]  # rule -> rules that it needs


def read_dot(text: str) -> Edges:
    """Rules and what they need, from the output of `snakemake --rulegraph dot`, without `all`."""
    names = dict(re.findall(r'(\d+)\[label = "([^"]+)"', text))
    needs: Edges = {name: set() for name in names.values() if name != "all"}
    for source, target in re.findall(r"(\d+) -> (\d+)", text):
        if names[target] != "all":
            needs[names[target]].add(names[source])
    return needs


def without_shortcuts(needs: Edges) -> Edges:
    """Drop the edges that other edges imply."""
    reach: Edges = {}

    def ancestors(name: str) -> set[str]:
        if name not in reach:
            reach[name] = needs[name].union(*(ancestors(other) for other in needs[name]))
        return reach[name]

    return {
        name: {o for o in others if not any(o in ancestors(p) for p in others - {o})} for name, others in needs.items()
    }


def rows_of(needs: Edges) -> list[list[str]]:
    """Rules by row: each just above the first rule that uses it, ordered to keep edges short."""
    users: Edges = {name: {user for user in needs if name in needs[user]} for name in needs}
    height: dict[str, int] = {}

    def steps_to_end(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((steps_to_end(user) for user in users[name]), default=-1)
        return height[name]

    last = max(map(steps_to_end, needs), default=0)
    rows = [sorted(name for name in needs if height[name] == last - row) for row in range(last + 1)]
    for _ in range(4):
        for rowwise, neighbours in ((rows, needs), (rows[::-1], users)):
            place = {name: (i + 0.5) / len(row) for row in rows for i, name in enumerate(row)}
            for row in rowwise:
                row.sort(key=lambda name: _mean([place[o] for o in neighbours[name]], place[name]))
                place.update({name: (i + 0.5) / len(row) for i, name in enumerate(row)})
    return rows


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def svg_of(needs: Edges) -> str:
    """The picture: a box per rule, a line from each rule to those that use its files."""
    needs = without_shortcuts(needs)
    rows = rows_of(needs)
    centre = {
        name: ((i + 0.5) * WIDTH / len(row), (r + 0.5) * ROW)
        for r, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    lines = [
        f'<path d="M{x0:.0f},{y0 + BOX_HEIGHT / 2:.0f} C{x0:.0f},{y0 + ROW * 0.7:.0f} {x1:.0f},{y1 - ROW * 0.7:.0f} '
        f'{x1:.0f},{y1 - BOX_HEIGHT / 2:.0f}"/>'
        for name in needs
        for other in sorted(needs[name])
        for (x0, y0), (x1, y1) in [(centre[other], centre[name])]
    ]
    boxes = [
        f'<rect x="{x - width / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="6"/>'
        for name, (x, y) in centre.items()
        for width in [len(name) * LETTER + 20]
    ]
    texts = [
        f'<text x="{x:.0f}" y="{y + 4:.0f}">{escape(name.replace("_", " "))}</text>' for name, (x, y) in centre.items()
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {len(rows) * ROW}" width="{WIDTH}" role="img" '
        f'font-family="sans-serif" font-size="13"><title>Rules of the graph</title>\n'
        f'<g fill="none" stroke="#9aa5b1" stroke-width="1.5">{"".join(lines)}</g>\n'
        f'<g fill="#eef2f7" stroke="#52606d">{"".join(boxes)}</g>\n'
        f'<g fill="#1f2933" text-anchor="middle">{"".join(texts)}</g>\n</svg>\n'
    )


def main(arguments: argparse.Namespace) -> None:
    """Ask Snakemake for the graph, draw it."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", arguments.target]
    if arguments.configfile:
        command += ["--configfile", *arguments.configfile]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise InputError(f"{arguments.target}: Snakemake gives no graph: {answer.stderr.strip().splitlines()[-1]}")
    needs = read_dot(answer.stdout)
    write_text(arguments.out, svg_of(needs))
    print(f"{arguments.out}: {len(needs)} rules")


if __name__ == "__main__":
    options = program.parser(__doc__)
    options.add_argument("--target", required=True, help="file that Snakemake knows how to make")
    options.add_argument("--configfile", nargs="*", help="configuration files on top of config.yaml")
    options.add_argument("--out", type=Path, required=True, help="SVG file to write")
    program.run(main, options)
