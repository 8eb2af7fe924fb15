# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The report at the end of a distilled run: pictures of what happened, and a table of teacher and student."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import torch
from torch import nn

from ultralytics.cfg import get_cfg
from ultralytics.distill.answers.file import is_answers
from ultralytics.distill.config import Config
from ultralytics.distill.graph import Pair, pair
from ultralytics.distill.inference import input_channels, preserve_random
from ultralytics.distill.report import curves, similarity
from ultralytics.distill.report.comparison import Contender, files, table
from ultralytics.distill.report.int8 import measure_int8
from ultralytics.distill.report.metrics import accuracy, load_fused, size, time_forward, validate
from ultralytics.distill.report.samples import plot_samples
from ultralytics.distill.runtime.distributed import run_in_subprocess
from ultralytics.distill.runtime.errors import reason
from ultralytics.distill.teacher.headroom import main_metric, verdict
from ultralytics.distill.teacher.preprocessing import Preprocessing, build_preprocessing
from ultralytics.distill.teacher.several import read_each
from ultralytics.distill.teacher.source import Source, resolve, teachers_of
from ultralytics.distill.training.folder import SIMILARITY
from ultralytics.distill.upstream import load_checkpoint, load_yaml, score_unfound
from ultralytics.distill.values import longer_side
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import select_device

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

    Met = Optional[tuple[nn.Module, list[Pair], Preprocessing]]  # a teacher beside a student; none for a file

BOXES = {"detect", "segment", "pose"}
FILES = {
    "weights/best.pt": "the student",
    "weights/teacher_last.pt": "the jointly trained teacher",
    "results.csv": "every epoch",
    "distill.png": "losses, their weights, CKA similarity",
    "distill_samples.jpg": "images and feature maps",
    "distill.csv": "this table, every class",
    SIMILARITY: "CKA similarity",
}


def note_start(trainer: BaseTrainer) -> None:
    """Measure how alike student and teacher are before the first step, for the report."""
    run = trainer.distill
    silent = is_answers(run.sources[0].path)
    if not trainer.args.plots or RANK not in {-1, 0} or trainer.ema is None or silent:
        return
    try:
        with preserve_random(trainer.device):
            student = deepcopy(trainer.ema.ema).float()
            found = similarity_of(student, _meet(student, run.sources[0], run.configs[0]), vars(trainer.args))
        if found:
            curves.save_similarity(trainer.save_dir, {"before": found})
    except Exception as e:  # a picture must not stop a training
        LOGGER.warning(f"Distillation: CKA similarity of student and teacher is not measured: {reason(e)}")


def write_after_training(trainer: BaseTrainer) -> None:
    """Write the report of a run that has ended; never at its cost."""
    if RANK not in {-1, 0} or not trainer.args.plots:
        return
    try:
        score_unfound(trainer.validator)
        scores = class_scores(trainer.validator.metrics, trainer.data["names"])
        if RANK == -1:
            write(trainer.save_dir, scores, str(trainer.device))
        else:
            run_in_subprocess(write, str(trainer.save_dir), scores, str(trainer.device))
    except Exception as e:
        LOGGER.warning(f"Distillation: the report is not whole: {reason(e)}")


def write(folder: str | Path, scores: dict[str, float] | None = None, device: str | None = None) -> None:
    """Write `distill.png`, `distill_samples.jpg` and `distill.csv` into a run's folder, and print the table.

    Args:
        folder (str | Path): The folder of a distilled run that has ended.
        scores (dict[str, float], optional): The student's accuracy; measured if not given.
        device (str, optional): Where models are timed and validated, as `device=` takes it; by default where the run
            was, of several the first.

    Raises:
        FileNotFoundError: If the folder holds no distilled run.
    """
    folder = Path(folder)
    weights = next((w for n in ("best", "last") if (w := folder / "weights" / f"{n}.pt").is_file()), None)
    args = load_yaml(folder / "args.yaml") if (folder / "args.yaml").is_file() else {}
    if weights is None or not args.get("model_t"):
        raise FileNotFoundError(f"'{folder}' holds no distilled run: it needs args.yaml with a model_t, and weights.")
    student = load_checkpoint(weights)[0].float().eval()
    teachers = teachers_of(args["model_t"])
    config = read_each(get_cfg(overrides={**args, "save_dir": None}), len(teachers))[0]
    learnt = folder / "weights" / "teacher_last.pt"  # a jointly trained one is not what it was given as
    teacher = learnt if config.online and learnt.is_file() else teachers[0]
    if is_answers(teacher):  # no model runs
        source = Source(None, Path(teacher))
    else:
        source = resolve(str(teacher), folder / "teacher.pt", config.imgsz or longer_side(args["imgsz"]))
    met = _meet(student, source, config)
    if found := similarity_of(student, met, args):
        before = {k: v for k, v in curves.read_similarity(folder).items() if k == "before"}
        curves.save_similarity(folder, {**before, "after": found})
    curves.plot_run(folder, folder / "distill.png")
    rows = [Contender("student", weights, scores or {})]
    if source.module is not None:
        rows.insert(0, Contender("teacher", source.path))
    place = _place(args.get("device") if device is None else device)
    _fill(rows, student, args, place)
    if config.int8:
        rows[-1].facts.update(measure_int8("student", weights, args["task"], **_val_arguments(args)))
    _draw_samples(rows, student, met, args, folder / "distill_samples.jpg")
    _save(rows, folder / "distill.csv")
    columns = curves.read_columns(folder / "results.csv")
    rising = curves.still_rising(columns, main_metric(rows[-1].facts) or "")
    said = verdict(rows[0].facts, rows[-1].facts, rising) if len(rows) > 1 else "", curves.taught(columns)
    text = "\n".join(("", _short(rows, str(place), args["imgsz"]), "", *(x for x in said if x)))
    LOGGER.info(f"{text}\n{files(folder, FILES)}")


def similarity_of(student: nn.Module, met: Met, args: dict[str, Any]) -> dict[str, float]:
    """Return the CKA of student and teacher at each layer pair on some validation images; nothing without pairs."""
    if not met or not met[1]:
        return {}
    images = _images(student, args, _affordable(size(met[0], args["imgsz"])["GFLOPs"], 400, most=similarity.COUNT))[1]
    return similarity.compare(student, *met[:2], images, met[2])


def class_scores(metrics: Any, names: dict[int, str]) -> dict[str, float]:
    """Return a validation's metrics, and the AP of each class where there are boxes, as `AP name`."""
    box = getattr(metrics, "box", None)
    each = {} if box is None else {f"AP {names[int(c)]}": float(v) for c, v in zip(box.ap_class_index, box.ap)}
    return {**accuracy(metrics.results_dict), **each}


def _meet(student: nn.Module, source: Source, config: Config) -> Met:
    """Return the teacher, the layer pairs (none where the models share none) and the teacher's preprocessing."""
    if source.module is None:
        return None
    device = next(student.parameters()).device
    teacher = source.fresh().float().eval().to(device)
    try:
        pairs = pair(student, teacher, config.layers)
    except ValueError:
        pairs = []
    return teacher, pairs, build_preprocessing(config, student, teacher, device)


def _images(student: nn.Module, args: dict[str, Any], count: int) -> tuple[list[Path], torch.Tensor]:
    """Return some validation images, evenly spaced, and the batch (N, C, H, W) of them."""
    files = similarity.evenly_spaced(similarity.validation_images(args["data"], args["task"]), count)
    return files, similarity.read_images(files, longer_side(args["imgsz"]), input_channels(student))


def _affordable(gflops: float, total: float, most: int) -> int:
    """Return how many forwards may be made, at least two: two cores of a CPU do about 100 GFLOPs a second."""
    return max(2, min(most, int(total / max(gflops, 0.1))))


def _place(device: Any) -> torch.device:
    """Return the first of a run's devices; the CPU, with a line, where this machine does not have it."""
    first = str("" if device is None else device).strip("[] ").partition(",")[0]
    try:
        return select_device(first, verbose=False)
    except ValueError:
        LOGGER.warning(f"Distillation: 'device={device}' of the run is not here, the report is made on the CPU")
        return torch.device("cpu")


def _fill(rows: Sequence[Contender], student: nn.Module, args: dict[str, Any], device: torch.device) -> None:
    """Fill in size and time of each model, and the accuracy where it is missing."""
    for row in rows:
        try:
            model = load_fused(row.weights, device)
            facts = size(model, args["imgsz"])
            repeats = _affordable(facts["GFLOPs"], 150, most=10)
            facts["ms"] = time_forward(model, args["imgsz"], repeats, warm=min(repeats, 5))
            scores, row.facts = row.facts, facts  # a teacher of other classes keeps its size and time
            if not scores:
                LOGGER.info(f"\nDistillation: validating the {row.name} for the report, {row.weights}...")
                scores = class_scores(*validate(row.weights, student, device=str(device), **_val_arguments(args)))
            row.facts = {**facts, **scores}
        except Exception as e:  # e.g. a teacher of other data, or no Ultralytics model: its row stays
            say = LOGGER.info if isinstance(e, ValueError) else LOGGER.warning  # other classes are no fault
            say(f"Distillation: the {row.name} is not measured: {reason(e)}")


def _val_arguments(args: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run's arguments its models are validated with."""
    return {k: args[k] for k in ("data", "imgsz", "batch", "single_cls") if args.get(k)}


def _draw_samples(rows: Sequence[Contender], student: nn.Module, met: Met, args: dict[str, Any], file: Path) -> None:
    """Draw some validation images: labels and predictions of models with boxes, and where both models look."""
    count = _affordable(size(met[0], args["imgsz"])["GFLOPs"], 200, most=4) if met else 4
    heats, (files, images) = [], _images(student, args, count)
    if met and met[1]:
        p = met[1][len(met[1]) // 2]
        maps = {"teacher": similarity.layer_maps(met[0], [p.teacher], images, met[2])[p.teacher]}
        maps["student"] = similarity.layer_maps(student, [p.student], images)[p.student]
        heats = [(f"{who}'s feature map {p.name}", [*map(similarity.activation_map, m)]) for who, m in maps.items()]
    shown = [r for r in rows if r.facts] if args["task"] in BOXES else []
    plot_samples(shown, args["data"], args["imgsz"], file, "cpu", heats=heats, files=[str(f) for f in files])


def _short(rows: Sequence[Contender], device: str, imgsz: Any) -> str:
    """Return the table for the screen, and the classes in which teacher and student differ most."""
    scores = [Contender(r.name, r.weights, {k: v for k, v in r.facts.items() if k[:3] != "AP "}) for r in rows]
    text = table(scores, device, imgsz)
    classes = [k for k in rows[-1].facts if k.startswith("AP ") and all(k in r.facts for r in rows)]
    if len(classes) < 2 or len(rows) < 2:
        return text
    gaps = sorted(classes, key=lambda k: rows[1].facts[k] - rows[0].facts[k])[:10]
    lines = [f"{k[3:]:>24} {rows[0].facts[k]:8.3f} {rows[1].facts[k]:8.3f}" for k in gaps]
    more = f", the {len(gaps)} furthest behind of {len(classes)}" if len(gaps) < len(classes) else ""
    return "\n".join([text, "", f"{'AP50-95 by class' + more:>24}  teacher  student", *lines])


def _save(rows: Sequence[Contender], file: Path) -> None:
    """Save the whole table, a row a fact and a column a model."""
    keys = dict.fromkeys(k for r in rows for k in r.facts)
    curves.write_rows(file, [["", *(r.name for r in rows)], *([k, *(r.facts.get(k, "") for r in rows)] for k in keys)])
