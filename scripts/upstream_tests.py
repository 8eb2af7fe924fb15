# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Runs upstream's own tests against stock and against the patched tree, and prints what differs.

    python scripts/upstream_tests.py

The tests come from the source distribution of the pinned version, which is fetched with pip and checked by its sha256.
Both sides run in this environment at the same time, offline and with automatic installing off. Data sets and
checkpoints that the tests look for are drawn on the spot under their names, the same ones for both sides. Tests that
need more than that, or a package that is not installed, fail or are skipped on both sides alike; a difference is what
counts, and the exit status is 1 where there is one. A test that differs is run once more on both sides first.

Besides what the tests of this repository need: `pip install pytest-timeout onnxslim onnxruntime lap shapely aiohttp`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from patching import PatchError, Repo
from suite.difference import differing, explain, reasons, table
from suite.sides import SIDES, Outcome, prepare, run_tests

ROOT = Path(__file__).resolve().parent.parent
FILES = ("test_engine.py", "test_cli.py", "test_python.py")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=FILES, help=f"files of upstream's tests; {' '.join(FILES)}")
    parser.add_argument("--folder", type=Path, help="where both sides are laid out and kept; else a temporary one")
    parser.add_argument("--limit", type=int, default=300, metavar="SECONDS", help="a test may take at most so long")
    parser.add_argument("--keyword", metavar="EXPRESSION", help="only these tests, as pytest's -k")
    return parser.parse_args(argv)


def run_both(sides: dict[str, Path], file: str, limit: int, chosen: list[str]) -> dict[str, dict[str, Outcome]]:
    """Run a file's tests on both sides at the same time, so that a busy machine slows both alike."""
    with ThreadPoolExecutor(len(sides)) as pool:
        return dict(zip(sides, pool.map(lambda side: run_tests(side, file, limit, chosen), sides.values())))


def compare(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Outcome]]:
    """Run all files on both sides, file by file; return what became of the tests of each side."""
    repo = Repo(ROOT)
    sides = {name: prepare(repo, folder, name) for name in SIDES}
    runs: dict[str, dict[str, Outcome]] = {name: {} for name in SIDES}
    chosen = ["-k", options.keyword] if options.keyword else []
    for file in options.files:
        found = run_both(sides, file, options.limit, chosen)
        for test in differing(found):
            again = ["-k", test.partition("::")[2].partition("[")[0]]
            print(f"once more: {test}", flush=True)
            second = run_both(sides, file, options.limit, again)
            for name in SIDES:
                found[name].update({test: second[name][test]} if test in second[name] else {})
        for name in SIDES:
            runs[name].update(found[name])
        print(f"{file}: {len(found[SIDES[0]])} tests, {len(differing(found))} differ", flush=True)
    return runs


def main(argv: list[str] | None = None) -> int:
    """Compare, print, and say whether both sides agree."""
    options = parse(argv)
    with tempfile.TemporaryDirectory(prefix="upstream-tests-") as scratch:
        try:
            runs = compare((options.folder or Path(scratch)).resolve(), options)
        except (PatchError, OSError, ValueError) as error:
            sys.exit(f"error: {error}")
    print(f"\n{table(runs)}\n\n{' / '.join(SIDES)}\n\n{reasons(runs[SIDES[0]])}\n")
    differ = explain(runs)
    print(differ or "Both sides pass and fail the same tests.")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
