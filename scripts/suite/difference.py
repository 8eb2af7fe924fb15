# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What two runs of the same tests have in common, and what not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import tables
from suite.sides import Outcome

STATES = ("passed", "failed", "error", "skipped")
Runs = Mapping[str, Mapping[str, Outcome]]  # side -> test -> outcome
ABSENT = Outcome("absent")


def differing(runs: Runs) -> list[str]:
    """Return the tests that end otherwise on one side than on another, or are absent from one."""
    tests = sorted({test for run in runs.values() for test in run})
    return [test for test in tests if len({run.get(test, ABSENT).status for run in runs.values()}) > 1]


def table(runs: Runs) -> str:
    """Return the counts of each file as a Markdown table; each cell has the sides in their order."""
    files = sorted({test.partition("::")[0] for run in runs.values() for test in run})
    rows = [["file", "tests", *STATES, "differ"]]
    for file in [*files, ""]:
        counts = [count(run, file) for run in runs.values()]
        cells = [" / ".join(str(c[state]) for c in counts) for state in STATES]
        differ = sum(test.startswith(file) for test in differing(runs))
        rows.append([file or "all", " / ".join(str(sum(c.values())) for c in counts), *cells, str(differ)])
    return tables.markdown(rows)


def count(run: Mapping[str, Outcome], file: str) -> Counter[str]:
    """Return how many tests of a file ended in each state."""
    return Counter(outcome.status for test, outcome in run.items() if test.startswith(file))


def reasons(run: Mapping[str, Outcome], states: Sequence[str] = ("failed", "error", "skipped")) -> str:
    """Return why tests did not pass, as a Markdown table: each reason with its number, the commonest first."""
    found = Counter(outcome.reason[:110] for outcome in run.values() if outcome.status in states)
    lines = [[str(number), reason.replace("|", "/")] for reason, number in found.most_common()]
    return tables.markdown([["tests", "reason"], *lines], left={1})


def explain(runs: Runs) -> str:
    """Return one line for each test that differs: what became of it on each side."""
    lines = []
    for test in differing(runs):
        ends = (f"{side} {(o := run.get(test, ABSENT)).status} {o.reason}".strip() for side, run in runs.items())
        lines.append(f"{test}: {'; '.join(ends)}")
    return "\n".join(lines)
