"""Write a paper's tables with our numbers beside the published ones; what is not there is named, not computed."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pose_models import program
from pose_models.files import write_json, write_text
from pose_models.report.published import paper_names, read_paper
from pose_models.report.tables import gather, html, markdown


def main(arguments: argparse.Namespace) -> None:
    """Gather and write."""
    content = gather(read_paper(arguments.paper), arguments.results, arguments.data)
    page, text = html(content), markdown(content)
    write_json(arguments.out.with_suffix(".json"), content)
    write_text(arguments.out.with_suffix(".md"), text)
    write_text(arguments.out.with_suffix(".html"), page)
    cells = [cell for table in content["tables"] for row in table["rows"] for cell in row["cells"] if cell["run"]]
    there = sum(cell["ours"] is not None for cell in cells)
    print(f"wrote {arguments.out.with_suffix('')}.html, .json, .md: {there} of {len(cells)} numbers are there")


if __name__ == "__main__":
    parser = program.parser(__doc__)
    parser.add_argument("--paper", required=True, help=f"one of: {', '.join(paper_names())}")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of datasets")
    parser.add_argument(
        "--out", type=Path, required=True, help="such as results/tables/surfemb.html; .json, .md beside"
    )
    program.run(main, parser)
