# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Compares trained models on one validation set: a table, and the curves of their runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.distill.report.curves import read_columns, write_rows
from ultralytics.distill.report.int8 import measure_int8
from ultralytics.distill.report.metrics import accuracy, load_fused, size, time_forward, validate
from ultralytics.distill.report.style import DASHES, MODELS, below, by_epoch, line, to_one
from ultralytics.distill.runtime.distributed import run_in_subprocess
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.headroom import main_metric, sentence
from ultralytics.distill.upstream import load_checkpoint
from ultralytics.utils import LOCAL_RANK, LOGGER, RANK, colorstr, plt_settings

FILES = {"comparison.csv": "this table", "comparison.png": "every epoch", "samples.png": "images"}
TERMS = ("train/dfea_loss", "train/dlogit_loss", "train/drel_loss", "train/dline_loss")


@dataclass
class Contender:
    """A trained model that takes part.

    Attributes:
        name (str): `teacher`, `plain`, `distilled` or any other word.
        weights (Path): Its checkpoint.
        facts (dict[str, float]): What `validate_all` found: `parameters`, `GFLOPs`, the metrics, and `ms` an image.
    """

    name: str
    weights: Path
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Columns of the run's `results.csv`; empty if the checkpoint lies in no run's folder."""
        file = Path(self.weights).parent.parent / "results.csv"
        return {k: np.array(v) for k, v in read_columns(file).items()} if file.is_file() else {}


def compare(
    models: Mapping[str, str | Path], data: str, imgsz: Any, folder: str | Path, device: Any = None, int8: bool = False
) -> None:
    """Print the table of some models and save it with the pictures.

    Args:
        models (Mapping[str, str | Path]): Checkpoints by name.
        data (str): The data's YAML; accuracy is that on its validation set.
        imgsz (int | list): Image size in pixels.
        folder (str | Path): Where `comparison.csv`, `comparison.png` and `samples.png` go.
        device (Any): As `device=` takes it; of several the first.
        int8 (bool): Whether the students are measured in INT8 too.
    """
    from ultralytics.distill.report.samples import plot_samples
    from ultralytics.utils.torch_utils import select_device

    if LOCAL_RANK != -1:
        if RANK == 0:
            run_in_subprocess(
                compare, {k: str(v) for k, v in models.items()}, str(data), imgsz, str(folder), device, int8
            )
        return
    order = [n for n in models if n.startswith("teacher")] + [n for n in ("plain", "distilled") if n in models]
    contenders = [Contender(n, Path(models[n])) for n in [*order, *(n for n in models if n not in order)]]
    device = str(device).strip("[] ").partition(",")[0] if device is not None else None
    validate_all(contenders, data, imgsz, device, int8)
    folder = Path(folder)
    save_csv(contenders, folder / "comparison.csv")
    plot_curves(contenders, folder / "comparison.png")
    plot_samples([c for c in contenders if c.facts], data, imgsz, folder / "samples.png", device)
    place = str(select_device(device, verbose=False))
    LOGGER.info(f"\n{table(contenders, place, imgsz)}\n{headroom(contenders)}\n{files(folder, FILES)}")


def validate_all(
    contenders: Sequence[Contender], data: str, imgsz: Any, device: Any = None, int8: bool = False
) -> None:
    """Validate each model and fill in its facts; all but teachers in INT8 too, where asked."""
    from ultralytics.utils.torch_utils import select_device

    for c in contenders:
        try:
            model = load_fused(c.weights, select_device(device, verbose=False))
            c.facts = {**size(model, imgsz), "ms": time_forward(model, imgsz)}
            student = load_checkpoint(contenders[-1].weights)[0]
            found = validate(c.weights, student, data=data, imgsz=imgsz, device=device)[0]
            c.facts.update(accuracy(found.results_dict))
            if int8 and not c.name.startswith("teacher"):
                c.facts.update(measure_int8(f"{c.name} student", c.weights, student.task, data=data, imgsz=imgsz))
        except Exception as e:  # e.g. a teacher of another data set, or none of Ultralytics: its row stays
            LOGGER.warning(f"Comparison: {c.name} cannot be measured on {data}: {reason(e)}")


def files(folder: Path, wanted: Mapping[str, str]) -> str:
    """Return a line with a folder's place and those of some files that are there, each with what it shows."""
    there = [f"{name} ({what})" for name, what in wanted.items() if (folder / name).is_file()]
    return f"Files in {colorstr('bold', Path(folder).resolve())}: {', '.join(there)}"


def table(contenders: Sequence[Contender], device: str = "", imgsz: Any = None) -> str:
    """Return the facts as aligned text, a row a model, and what distilling changed where both students are there."""
    keys = list(dict.fromkeys(k for c in contenders for k in c.facts if k != "ms")) + ["ms"]
    shown = [[c.name, *(_show(k, c.facts.get(k)) for k in keys)] for c in contenders]
    by_name = {c.name: c.facts for c in contenders}
    if {"plain", "distilled"} <= by_name.keys():
        a, b = by_name["distilled"], by_name["plain"]
        scores = [k for k in keys if k not in {"parameters", "GFLOPs", "ms"} and k in a and k in b]
        shown.append(["distilled - plain", *(f"{a[k] - b[k]:+.3f}" if k in scores else "" for k in keys)])
    heads = {
        "ms": f"ms/image ({device})" if device else "ms/image",
        "GFLOPs": f"GFLOPs ({imgsz})" if imgsz else "GFLOPs",
    }
    lines = [["", *(heads.get(k, k) for k in keys)], *shown]
    widths = [max(len(row[i]) for row in lines) for i in range(len(lines[0]))]
    return "\n".join(
        row[0].ljust(widths[0]) + "".join(v.rjust(w + 3) for v, w in zip(row[1:], widths[1:])) for row in lines
    )


def headroom(contenders: Sequence[Contender]) -> str:
    """Return what there was to win with the teacher and what was won, in a line, where all three were measured."""
    facts = {c.name: c.facts for c in contenders}
    key = main_metric(facts.get("distilled", {}))
    known = {n: x[key] for n, x in facts.items() if key is not None and key in x}
    if not {"teacher", "plain", "distilled"} <= known.keys():
        return ""
    won = {"distilled": known["distilled"] - known["plain"]}
    return f"\n{sentence(known['teacher'], known['plain'], won)}\n"


def _show(key: str, value: float | None) -> str:
    """Return one cell of the table."""
    if value is None:
        return "-"
    digits = {"parameters": 0, "GFLOPs": 2, "ms": 1}.get(key, 3)
    return f"{value:,.{digits}f}"


def save_csv(contenders: Sequence[Contender], file: Path) -> None:
    """Save the facts of measured models, a row a model."""
    keys = list(dict.fromkeys(k for c in contenders for k in c.facts))
    rows = [[c.name, c.weights, *(c.facts.get(k, "") for k in keys)] for c in contenders]
    write_rows(file, [["model", "weights", *keys], *rows])


@plt_settings()
def plot_curves(contenders: Sequence[Contender], file: str | Path) -> None:
    """Draw accuracy and validation loss of every run by epoch, and the distillation terms.

    A model without a run of its own, such as a downloaded teacher, stands as a dashed line.
    """
    import matplotlib.pyplot as plt  # scope for faster 'import ultralytics'

    histories = {c.name: c.history for c in contenders}
    columns = [k for h in histories.values() for k in h]
    metrics = [k for k in dict.fromkeys(columns) if k.startswith("metrics/")]
    metrics = [k for k in metrics if "mAP" in k][::-1][:2] or metrics[:2]
    terms = [k for k in TERMS if k in columns]
    count = len(metrics) + 1 + bool(terms)
    fig, ax = plt.subplots(1, count, figsize=(4.6 * count, 4.4), squeeze=False, layout="constrained")
    ax = ax[0]
    for c in contenders:
        h, style = histories[c.name], {"color": MODELS.get(c.name), "label": c.name}
        style.update(line(h.get("epoch", ())))
        for a, key in zip(ax, metrics):
            value = c.facts.get(key[8:], c.facts.get(key[8:].partition("(")[0]))
            if key in h:
                a.plot(h["epoch"], h[key], **style)
            elif value is not None:
                a.axhline(value, linestyle="--", color=style["color"], label=c.name, linewidth=2)
        losses = [k for k in h if k.startswith("val/") and k.endswith("_loss")]
        if losses:
            ax[len(metrics)].plot(h["epoch"], sum(h[k] for k in losses), **style)
        for dash, key in zip(DASHES, (k for k in terms if k in h)):
            ax[-1].plot(h["epoch"], h[key], linestyle=dash, **{**style, "label": f"{c.name}: {key[6:-5]}"})
    titles = [*(f"{_short(k, metrics)}, validation" for k in metrics), "Loss, validation"]
    for a, title in zip(ax, [*titles, "Distillation losses, as trained"]):
        a.set_title(title, fontsize=12)
        by_epoch(a)
        if a.lines:
            below(a, columns=3)
    for a in ax[: len(metrics)]:
        to_one(a, [v for x in a.lines for v in x.get_ydata()])
    for a in ax[len(metrics) :]:
        a.set_ylim(bottom=0)
    fig.savefig(file, dpi=200)
    plt.close(fig)


def _short(key: str, keys: Sequence[str]) -> str:
    """Return a metric's name without its folder, and without `(B)` where all are of boxes."""
    several = len({k[k.find("(") :] for k in keys if "(" in k}) > 1
    return key[8:] if several else key[8:].partition("(")[0]
