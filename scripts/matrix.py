"""What works with what: short real runs of every student family with every teacher family, as Markdown and CSV.

    python scripts/matrix.py pairs --out docs/results

Each cell trains for an epoch of two steps at small size, through the public API, and holds the terms that were
computed, or the sentence the run ended with. A cell that is a traceback is printed, and the script ends with 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from matrices import pairs, tasks
from matrices.table import write
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
    rows, columns = args.rows or table.ROWS, args.columns or table.COLUMNS
    with tempfile.TemporaryDirectory() as folder:
        for cell in table.cells(Path(folder), rows, columns, more=not (args.rows or args.columns)):
            print(f"{cell.row} <- {cell.column}: {cell.outcome}: {cell.says}", flush=True)
            found.append(cell)
    if args.out:
        write(found, table.page(found), args.out / args.table)
    return int(any(c.outcome == "crashed" for c in found))


if __name__ == "__main__":
    sys.exit(main())
