"""Which student learns from which teacher: short real runs of every pair, as Markdown and CSV.

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

from matrices import pairs, table
from ultralytics.utils import LOGGER


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["pairs"], help="student family x teacher family")
    parser.add_argument("--rows", nargs="*", metavar="NAME", help=f"some of {' '.join(pairs.FAMILIES)}")
    parser.add_argument("--columns", nargs="*", metavar="NAME", help="as --rows, for the teachers")
    parser.add_argument("--out", type=Path, help="folder for pairs.md and pairs.csv")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the cells, print each as it ends, and write the table."""
    args = parse(argv)
    LOGGER.setLevel(logging.ERROR)
    everything = list(pairs.FAMILIES)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        some = args.rows or args.columns
        for cell in pairs.cells(Path(folder), args.rows or everything, args.columns or everything, more=not some):
            print(f"{cell.row} <- {cell.column}: {cell.outcome}: {cell.says}", flush=True)
            found.append(cell)
    if args.out:
        table.write(found, args.out / args.table)
    return int(any(c.outcome == "crashed" for c in found))


if __name__ == "__main__":
    sys.exit(main())
