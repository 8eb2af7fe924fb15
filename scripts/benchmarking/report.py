"""The benchmark's figures as rows, and as a table that fits a terminal."""

from __future__ import annotations

from statistics import median
from typing import Any

import tables
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
    lines = [["a step", "ms", "/ native", "quartiles", "/ floor", "/ plain", "MiB", "/ native"]]
    for r in found:
        between = "-".join(f"{x:.2f}" for x in r.get("by_native_quartiles", ()))
        ratios = [_ratio(r, "by_native"), between, _ratio(r, "by_floor"), _ratio(r, "by_plain")]
        mib = "" if r["mib"] is None else f"{r['mib']:.0f}"
        lines.append([LABELS[r["way"]], f"{r['ms']:.0f}", *ratios, mib, _ratio(r, "mib_by_native")])
    return tables.markdown(lines) if markdown else tables.text(lines)


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
