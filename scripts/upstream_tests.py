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
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables
from patching import PatchError, Repo
from suite.sides import SIDES, Outcome, prepare, run_tests

ROOT = Path(__file__).resolve().parent.parent
FILES = ("test_engine.py", "test_cli.py", "test_python.py")
STATES = ("passed", "failed", "error", "skipped")
Runs = Mapping[str, Mapping[str, Outcome]]  # side -> test -> outcome
ABSENT = Outcome("absent")


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


def differing(runs: Runs) -> list[str]:
    """Return the tests that end otherwise on one side than on another, or are absent from one."""
    tests = sorted({test for run in runs.values() for test in run})
    return [test for test in tests if len({run.get(test, ABSENT).status for run in runs.values()}) > 1]


def table(runs: Runs) -> str:
    """Return the counts of each file as a Markdown table; each cell has the sides in their order."""
    files = sorted({test.partition("::")[0] for run in runs.values() for test in run})
    rows = [["file", "tests", *STATES, "differ"]]
    for file in [*files, ""]:
        counts = [Counter(o.status for test, o in run.items() if test.startswith(file)) for run in runs.values()]
        cells = [" / ".join(str(c[state]) for c in counts) for state in STATES]
        differ = sum(test.startswith(file) for test in differing(runs))
        rows.append([file or "all", " / ".join(str(sum(c.values())) for c in counts), *cells, str(differ)])
    return tables.markdown(rows)


def reasons(run: Mapping[str, Outcome]) -> str:
    """Return why tests did not pass, as a Markdown table: each reason with its number, the commonest first."""
    found = Counter(outcome.reason[:110] for outcome in run.values() if outcome.status in STATES[1:])
    lines = [[str(number), reason.replace("|", "/")] for reason, number in found.most_common()]
    return tables.markdown([["tests", "reason"], *lines], left={1})


def explain(runs: Runs) -> str:
    """Return one line for each test that differs: what became of it on each side."""
    lines = []
    for test in differing(runs):
        ends = (f"{side} {(o := run.get(test, ABSENT)).status} {o.reason}".strip() for side, run in runs.items())
        lines.append(f"{test}: {'; '.join(ends)}")
    return "\n".join(lines)


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
