"""Writes the report of distilled runs that have ended: distill.png, distill_samples.jpg and distill.csv.

    python scripts/report.py runs/detect/train runs/detect/train2

A run writes it by itself at its end, unless it was trained with plots=False. The CKA similarity before the run is
known only if the run noted it.
"""

from __future__ import annotations

import argparse
import sys

from ultralytics.distill.report.summary import write


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a run's folder, with args.yaml and weights/")
    for folder in parser.parse_args(argv).folders:
        try:
            write(folder)
        except (FileNotFoundError, ValueError) as e:
            sys.exit(f"error: {e}")


if __name__ == "__main__":
    main()
