"""Draws what teachers brought: native and ours minus plain, each comparison a line with its 95 percent intervals.

    python scripts/forest.py docs/results/accuracy.csv --without yolo11p.yaml slight.pt --out docs/results/forest.png

The rows are those of `scripts/compare.py`, with the teacher's accuracy. Comparisons are grouped by the student's start
and by how far the teacher is above the plain students. The table that is printed has all of them, those too that
`--without` keeps out of the figure. Machines are told apart by their build of torch, and get letters.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables
from comparing import rows
from comparing.table import Difference, half_width, interval
from ultralytics.distill.report.style import MODELS
from ultralytics.distill.teacher.headroom import LITTLE, NOTHING

if TYPE_CHECKING:
    from comparing.rows import Row

SHOWN = {  # apart in grey too, by sign and line
    "ours": ("o", MODELS["ours"], MODELS["ours"], "-", "ours (model_t alone)"),
    "native": ("s", MODELS["native"], "white", (0, (4, 2)), "native (Ultralytics' distill_model)"),
}


@dataclass
class Entry:
    """One comparison: a student, its data and a teacher.

    Attributes:
        group (str): Start and teacher in words.
        student (str): Its file.
        data (str): Name of the data set, and the image size.
        teacher (str): Its file.
        gap (float): The teacher's accuracy minus the mean of plain.
        plain (float): Mean accuracy of the plain runs.
        gains (dict[str, Difference]): Of `native` and `ours`, what they have above plain on the same seeds.
        machines (set[str]): Builds of torch of the paired runs.
    """

    group: str
    student: str
    data: str
    teacher: str
    gap: float
    plain: float
    gains: dict[str, Difference] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)


def read(file: Path) -> list[Entry]:
    """Return the comparisons of a CSV that have plain runs, in the order of their groups.

    Args:
        file (Path): Rows of `scripts/compare.py`.

    Raises:
        ValueError: If the teacher's accuracy is not in the rows, or a comparison has no plain runs.
    """
    found: dict[tuple[str, ...], list[Row]] = {}
    known = rows.read(file)
    for row in (r for r in known if r["teacher"]):
        found.setdefault((row["data"], row["student"], row["teacher"], row["arguments"]), []).append(row)
    entries = []
    for (data, student, teacher, arguments), some in found.items():
        alike = {"data": data, "student": student, "arguments": arguments, "method": "plain"}
        plain = {r["seed"]: r for r in known if all(r[k] == v for k, v in alike.items())}
        accuracy = next((r["teacher_accuracy"] for r in some if r["teacher_accuracy"]), None)
        if not plain or accuracy is None:
            raise ValueError(f"'{file}': {student} <- {teacher} has no plain runs or no teacher_accuracy.")
        entries.append(_entry(some, plain, float(accuracy)))
    order = list(dict.fromkeys(e.group for e in entries))
    return sorted(entries, key=lambda e: order.index(e.group))


def _entry(some: Sequence[Row], plain: dict[str, Row], accuracy: float) -> Entry:
    """Return one comparison."""
    metric = rows.metrics(some[0])[0]
    level = mean(float(r[metric]) for r in plain.values())
    size = next((x[6:] for x in some[0]["arguments"].split() if x.startswith("imgsz=")), "640")
    gap = accuracy - level
    word = "much better" if gap >= LITTLE else "better" if gap > NOTHING else "equal" if gap > -NOTHING else "weaker"
    start = "fine-tuned" if some[0]["student"].endswith(".pt") else "from scratch"
    name = f"{Path(some[0]['data']).parent.name or some[0]['data']}, {size} px"
    entry = Entry(f"{start}, {word} teacher", some[0]["student"], name, some[0]["teacher"], gap, level)
    for method in SHOWN:
        pairs = [(r, plain[r["seed"]]) for r in some if r["method"] == method and r["seed"] in plain]
        entry.gains[method] = Difference([float(a[metric]) - float(b[metric]) for a, b in pairs])
        entry.machines |= {r["torch"] for pair in pairs for r in pair}
    return entry


def table(entries: Sequence[Entry]) -> str:
    """Return all comparisons in Markdown, a table for each group."""
    builds = sorted({m for e in entries for m in e.machines}, reverse=True)
    head = ["student <- teacher", "plain", "teacher - plain", "native - plain", "ours - plain", "seeds", "machine"]
    parts = []
    for group in dict.fromkeys(e.group for e in entries):
        lines = [head]
        for e in (e for e in entries if e.group == group):
            letters = ", ".join(sorted(chr(ord("A") + builds.index(m)) for m in e.machines))
            seeds = ", ".join(str(len(e.gains[m].values)) for m in ("native", "ours") if e.gains[m].values)
            gains = [_text(e.gains[m]) for m in ("native", "ours")]
            name = f"{e.data}: {_stem(e.student)} <- {_stem(e.teacher)}"
            lines.append([name, f"{e.plain:.3f}", f"{e.gap:+.3f}", *gains, seeds, letters])
        parts.append(f"**{group}**\n\n" + tables.markdown(lines, left={0, 3, 4, 6}))
    return "\n\n".join(parts)


def _stem(name: str) -> str:
    """Return a file's name without its ending."""
    return name.rpartition(".")[0]


def _text(gain: Difference) -> str:
    """Return a mean difference with its interval, which two seeds do not have."""
    return interval(gain.values, digits=3, least=3)


def draw(entries: Sequence[Entry], file: Path) -> None:
    """Draw comparisons, sorted by group, as a forest plot."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = list(dict.fromkeys(e.group for e in entries))
    fig, axis = plt.subplots(figsize=(9, 0.36 * (len(entries) + len(groups)) + 1.1), layout="constrained")
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
            axis.text(1.01, y, _text(e.gains["ours"]), fontsize=9, **beside)
            labels[y] = f"{_stem(e.student)}, {e.data} ({len(e.gains['ours'].values)} seeds)"
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
    axis.set_xlabel("mAP50-95 minus that of the same student trained alone, with 95 percent interval")
    axis.text(1.01, -0.02, "ours", fontsize=9, weight="bold", **beside)
    axis.grid(axis="x", color="#dddddd")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False)
    fig.legend(loc="outside upper center", ncols=2, frameon=False)
    fig.savefig(file, dpi=110)
    plt.close(fig)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="FILE.csv")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="students or teachers left out")
    parser.add_argument("--out", type=Path, metavar="FILE.png", help="figure to write; none draws none")
    options = parser.parse_args(argv)
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
