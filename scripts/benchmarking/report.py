"""The benchmark's figures as rows, as a table that fits a terminal, and as a bar chart."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarking.measure import compare

LABELS = {
    "plain": "plain training",
    "native": "native distill_model",
    "tutorial": "tutorials' way",
    "ours": "ours",
    "unlabeled": "ours, half unlabeled",
    "floor": "floor",
    "answers": "answers from a file",
}
COLOURS = {
    "plain": "#9aa5b1",
    "native": "#4c6a92",
    "tutorial": "#b08968",
    "ours": "#d1495b",
    "floor": "#c9d1d9",
    "answers": "#edae49",
}
COLOURS["unlabeled"] = "#e59aa5"


def rows(times: dict[str, list[float]], memory: dict[str, float]) -> list[dict[str, Any]]:
    """Return one row a way: median time, its ratio to native's and to the floor's with quartiles, and memory."""
    found = []
    for name, values in times.items():
        row = {"way": name, "ms": median(values), "mib": memory.get(name), "steps": len(values)}
        for other in ("native", "floor", "plain", "ours"):
            if other in times:
                row[f"by_{other}"], *row[f"by_{other}_quartiles"] = compare(times, name, other)
        if memory.get(name) and memory.get("native"):
            row["mib_by_native"] = memory[name] / memory["native"]
        found.append(row)
    return found


def table(found: list[dict[str, Any]], markdown: bool = False) -> str:
    """Return the rows as text of less than 90 columns, or as Markdown."""
    head = ["a step", "ms", "/ native", "quartiles", "/ floor", "/ plain", "MiB", "/ native"]
    body = []
    for r in found:
        low, high = r.get("by_native_quartiles", (float("nan"),) * 2)
        cells = [
            f"{r['ms']:.0f}",
            _ratio(r, "by_native"),
            f"{low:.2f}-{high:.2f}",
            _ratio(r, "by_floor"),
            _ratio(r, "by_plain"),
        ]
        mib = "" if r["mib"] is None else f"{r['mib']:.0f}"
        body.append([LABELS[r["way"]], *cells, mib, _ratio(r, "mib_by_native")])
    if markdown:
        return "\n".join("| " + " | ".join(x) + " |" for x in [head, ["---"] + ["---:"] * 7, *body])
    return "\n".join("{:<22}{:>7}{:>10}{:>12}{:>9}{:>9}{:>8}{:>10}".format(*x) for x in [head, *body])


def _ratio(row: dict[str, Any], key: str) -> str:
    """Return a ratio as text, empty where it was not measured."""
    return f"{row[key]:.2f}" if key in row else ""


def sentence(about: dict[str, Any]) -> str:
    """Return what was measured, where."""
    terms = ", ".join(f"{k}={v}" for k, v in about["terms"].items()) or "default recipe"
    amp = ", AMP" if about["amp"] else ""
    threads = "" if about["device"].startswith("cuda") else f", {about['threads']} thread(s), {about['clock']} time"
    return (
        f"{about['student']} <- {about['teacher']}, {about['imgsz']} px, batch {about['batch']}, {terms}, "
        f"{about['optimizer']}{amp}\n{about['machine']}{threads}, torch {about['torch']}"
    )


def chart(found: list[dict[str, Any]], about: dict[str, Any], path: Path) -> None:
    """Draw times and, where weighed, memory as bars, each with its ratio to native's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sides = [("ms", "by_native", "step time, ms")]
    sides += [("mib", "mib_by_native", "peak memory, MiB")] * any(r["mib"] for r in found)
    figure, axes = plt.subplots(1, len(sides), figsize=(5.2 * len(sides), 3.2), squeeze=False)
    names = [LABELS[r["way"]] for r in found]
    for axis, (key, ratio, title) in zip(axes[0], sides):
        bars = axis.barh(names, [r[key] or 0 for r in found], color=[COLOURS[r["way"]] for r in found], height=0.65)
        axis.bar_label(bars, [f"{r[key] or 0:.0f}  ({_ratio(r, ratio)})" for r in found], padding=4, fontsize=9)
        axis.set_title(title + ("  (ratio to native)" if ratio in found[0] else ""), fontsize=10, loc="left")
        axis.invert_yaxis()
        axis.margins(x=0.3)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.tick_params(bottom=False, labelbottom=False, left=False, labelsize=9)
    for axis in axes[0][1:]:
        axis.tick_params(labelleft=False)
    figure.text(0.01, 0.01, sentence(about), fontsize=7, color="#57606a", va="bottom")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, dpi=150)
    plt.close(figure)
