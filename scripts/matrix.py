"""What works with what: short real runs of every student family with every teacher family, as Markdown and CSV.

    python scripts/matrix.py pairs --out docs/results

Each cell trains for an epoch of two steps at small size, through the public API, and holds the terms that were
computed, or the sentence the run ended with. A cell that is a traceback is printed, and the script ends with 1.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from matrices import pairs, tasks
from matrices.cell import run_all
from ultralytics.utils import LOGGER

TABLES = {"pairs": pairs, "tasks": tasks}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES, help="which table")
    parser.add_argument("--rows", nargs="*", metavar="NAME", help="some rows by their labels; default all")
    parser.add_argument("--columns", nargs="*", metavar="NAME", help="some columns by their labels; default all")
    parser.add_argument("--out", type=Path, help="folder for the table's .md and .csv; default nothing is written")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the cells, print each as it ends, and write the table."""
    args = parse(argv)
    LOGGER.setLevel(logging.ERROR)
    table, found = TABLES[args.table], []
    places = [(r, c) for r in args.rows or table.ROWS for c in args.columns or table.COLUMNS]
    with tempfile.TemporaryDirectory() as folder:
        for cell in run_all(table.setup, places + table.MORE * (not (args.rows or args.columns)), Path(folder)):
            print(f"{cell.row} <- {cell.column}: {cell.outcome}: {cell.says}", flush=True)
            found.append(cell)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        with open(args.out / f"{args.table}.csv", "w", newline="") as f:
            writer = csv.DictWriter(f, list(asdict(found[0])), lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(asdict, found))
        (args.out / f"{args.table}.md").write_text(table.page(found))
    return int(any(c.outcome == "crashed" for c in found))


if __name__ == "__main__":
    sys.exit(main())
