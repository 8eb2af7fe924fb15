"""Draws what teachers brought: native and ours minus plain, each comparison a line with its 95 percent intervals.

    python scripts/forest.py docs/results/accuracy.csv --out docs/results/forest.png

The rows are those of `scripts/compare.py`. Comparisons are grouped by the student's start and by how far the teacher is
above the plain students; a file of answers, and a teacher that was not measured, have groups of their own. Where ours
was never run with `model_t` alone, its first arguments stand beside the name. The table that is printed has all of
them, those too that `--without` keeps out of the figure. Machines are told apart by their build of torch, and have
letters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables
from comparing import rows
from comparing.figure import canvas
from comparing.table import NEEDED, Difference, half_width, interval, lines
from ultralytics.distill.report.style import MODELS
from ultralytics.distill.teacher.headroom import LITTLE, NOTHING
from ultralytics.distill.upstream import missing_packages

SHOWN = {  # apart in grey too, by sign and line
    "ours": ("o", MODELS["ours"], MODELS["ours"], "-", "ours (model_t alone)"),
    "native": ("s", MODELS["native"], "white", (0, (4, 2)), "native (Ultralytics' distill_model)"),
}
LEVELS = ((LITTLE, "much better"), (NOTHING, "better"), (-NOTHING, "equal"))  # of a teacher, from what gap on


@dataclass
class Entry:
    """One comparison: a student, its data and a teacher.

    Attributes:
        group (str): Start and teacher in words.
        student (str): Its file.
        data (str): Name of the data set, and the image size.
        teacher (str): Its file.
        gap (float | None): The teacher's accuracy minus the mean of plain; None where that is not known.
        plain (float): Mean accuracy of the plain runs.
        gains (dict[str, Difference]): Of `native` and `ours`, what they have above plain on the same seeds.
        machines (set[str]): Builds of torch of the runs.
    """

    group: str
    student: str
    data: str
    teacher: str
    gap: float | None
    plain: float
    gains: dict[str, Difference]
    machines: set[str]


def read(file: Path) -> list[Entry]:
    """Return the comparisons of a CSV of `scripts/compare.py`, in the order of their groups.

    Raises:
        ValueError: If a comparison has no plain runs.
    """
    entries = []
    known = [{**row, "teacher_sha256": ""} for row in rows.read(file)]  # a teacher is here what it is called
    for (data, student, teacher, *_), some in rows.groups(known).items():
        if not teacher:
            continue
        accuracy = next((r["teacher_accuracy"] for r in some if r["teacher_accuracy"]), None)
        if some[0]["method"] != "plain":
            raise ValueError(f"'{file}': {student} <- {teacher} has no plain runs.")
        plain, *others = lines(some, rows.metrics(some[0])[0])
        level = mean(plain.values)
        gap = None if accuracy is None else float(accuracy) - level
        word = next((word for least, word in LEVELS if gap is not None and gap >= least), "weaker")
        unknown = "answers from a file" if Path(teacher).suffix in {".json", ".jsonl"} else "teacher not measured"
        kind = unknown if gap is None else f"{word} teacher"
        start = "fine-tuned" if student.endswith(".pt") else "from scratch"
        size = next((x[6:] for x in some[0]["arguments"].split() if x.startswith("imgsz=")), "640")
        name = f"{Path(data).parent.name or data}, {size} px"
        gains = {x.method: x.above["plain"] for x in others if x.method in SHOWN}
        variant = next((x for x in others if x.method.startswith("ours ") and "ours" not in gains), None)
        if variant:  # never run with model_t alone
            gains["ours"], name = variant.above["plain"], f"{name}, {variant.method[5:]}"
        methods = {variant.method if variant and k == "ours" else k for k in gains}
        alone, taught = ({r["seed"]: r["torch"] for r in some if r["method"] in x} for x in ({"plain"}, methods))
        machines = {side[seed] for seed in alone.keys() & taught.keys() for side in (alone, taught)}
        entries.append(Entry(f"{start}, {kind}", student, name, teacher, gap, level, gains, machines))
    order = list(dict.fromkeys(e.group for e in entries))
    return sorted(entries, key=lambda e: order.index(e.group))


def table(entries: Sequence[Entry]) -> str:
    """Return all comparisons in Markdown, a table for each group."""
    builds = sorted({m for e in entries for m in e.machines}, reverse=True)
    head = ["student <- teacher", "plain", "teacher - plain", "native - plain", "ours - plain", "seeds", "machine"]
    parts = []
    for group in dict.fromkeys(e.group for e in entries):
        cells = [head]
        for e in (e for e in entries if e.group == group):
            letters = ", ".join(sorted(chr(ord("A") + builds.index(m)) for m in e.machines))
            paired = [e.gains.get(m, Difference()) for m in ("native", "ours")]
            seeds = ", ".join(str(len(gain.values)) for gain in paired if gain.values)
            name = f"{e.data}: {_stem(e.student)} <- {_stem(e.teacher)}"
            gap = "" if e.gap is None else f"{e.gap:+.3f}"
            cells.append([name, f"{e.plain:.3f}", gap, *map(_text, paired), seeds, letters])
        parts.append(f"**{group}**\n\n" + tables.markdown(cells, left={0, 3, 4, 6}))
    return "\n\n".join(parts)


def _stem(name: str) -> str:
    """Return a file's name without its ending."""
    return name.rpartition(".")[0]


def _text(gain: Difference) -> str:
    """Return a mean difference with its interval, which two seeds do not have."""
    return interval(gain.values, digits=3, least=3)


def draw(entries: Sequence[Entry], file: Path) -> None:
    """Draw comparisons, sorted by group, as a forest plot."""
    groups = list(dict.fromkeys(e.group for e in entries))
    with canvas(file, (9, 0.36 * (len(entries) + len(groups)) + 1.1)) as (fig, ((axis,),)):
        axis.axvline(0, color="#444444", linewidth=1)
        beside: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "va": "center"}
        y, labels = 0, {}
        places: dict[str, list[tuple[float, Difference]]] = {method: [] for method in SHOWN}
        for group in groups:
            axis.text(-0.01, y, group, ha="right", weight="bold", **beside)
            for e in (e for e in entries if e.group == group):
                y += 1
                for method, gain in e.gains.items():
                    places[method] += [(y - 0.16 if method == "ours" else y + 0.16, gain)] * bool(gain.values)
                ours = e.gains.get("ours", Difference())
                axis.text(1.01, y, _text(ours), fontsize=9, **beside)
                labels[y] = f"{_stem(e.student)} <- {_stem(e.teacher)}, {e.data} ({len(ours.values)} seeds)"
            y += 1
        for method, found in places.items():
            marker, color, inside, line, name = SHOWN[method]
            halves = [half_width(gain.values) if len(gain.values) > 2 else 0 for _, gain in found]
            look: dict[str, Any] = {"fmt": marker, "ecolor": color, "elinewidth": 1.8, "label": name, "markersize": 7}
            look.update(markeredgecolor="#222222", markerfacecolor=inside, markeredgewidth=1.3)
            means, heights = [gain.mean for _, gain in found], [height for height, _ in found]
            *_, bars = axis.errorbar(means, heights, xerr=halves, **look)
            bars[0].set_linestyle(line)
        axis.set_yticks(list(labels), list(labels.values()))
        axis.set_ylim(y - 0.4, -0.6)
        axis.set_xlabel("mAP50-95 minus that of the same\nstudent trained alone, with 95 percent interval")
        axis.text(1.01, -0.02, "ours", fontsize=9, weight="bold", **beside)
        fig.legend(loc="outside upper center", ncols=2, frameon=False)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="FILE.csv")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="students or teachers left out")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="figure to write; none draws none")
    options = parser.parse_args(argv)
    if missing_packages(["scipy"]):
        parser.error(NEEDED)
    try:
        entries = read(options.results)
    except ValueError as e:
        sys.exit(f"error: {e}")
    print(table(entries))
    if options.out:
        kept = [e for e in entries if not any(x in (e.student, e.teacher) for x in options.without)]
        draw(kept, options.out)


if __name__ == "__main__":
    main()
