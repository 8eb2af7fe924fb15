"""Step time and peak memory of distillation, measured side by side.

    python scripts/benchmark.py --student yolov8n.yaml --teacher yolov8s.yaml --imgsz 320 --batch 8 --device cpu

Six ways to spend a step (forward, loss, backward, clipping, optimizer, EMA; the trainer's own parts, random images):

    plain training        no teacher
    native distill_model  upstream's own distillation
    tutorials' way        an imitation: three student forwards, two teacher forwards, see benchmarking/ways.py
    ours                  model_t with the terms asked for
    floor                 a plain step and our teacher's forward: what no loss can be cheaper than
    answers from a file   model_t=answers.jsonl: what the teacher has left behind, as many boxes as labels

`--ways ours unlabeled` times ours beside a step of as many images of which half have no labels.

All are timed in one process in turns, so that drift of the machine hits all alike; the figures are medians, the ratios
are taken round by round. Memory is weighed apart, one process each.

    python scripts/benchmark.py --startup 100000

times reading drawn answers for so many images and joining them with a training set, and weighs what they hold.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tables
from benchmarking import measure
from benchmarking.startup import time_startup
from benchmarking.ways import MORE, WAYS, Way, make_batch
from ultralytics.distill.runtime.open_model import open_model
from ultralytics.utils import LOGGER

LABELS = {
    "plain": "plain training",
    "native": "native distill_model",
    "tutorial": "tutorials' way",
    "ours": "ours",
    "unlabeled": "ours, half unlabeled",
    "floor": "floor",
    "answers": "answers from a file",
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="yolov8n.yaml", help="YAML or checkpoint")
    parser.add_argument("--teacher", default="yolov8s.yaml", help="YAML or checkpoint")
    parser.add_argument("--imgsz", type=int, default=320, help="side of the images in pixels, a multiple of 32")
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--terms", nargs="*", default=[], metavar="KEY=VALUE", help="e.g. distill_feat=cwd distill_logit=none"
    )
    parser.add_argument(
        "--ways", nargs="*", default=list(WAYS), choices=(*WAYS, *MORE), metavar="WAY", help=", ".join(WAYS)
    )
    parser.add_argument("--steps", type=int, default=20, help="rounds, at most")
    parser.add_argument("--seconds", type=float, default=75, help="no round begins after so many seconds of timing")
    parser.add_argument("--optimizer", default="SGD", help="as the trainer's argument; `auto` is MuSGD in a long run")
    parser.add_argument(
        "--clock", default="wall", choices=measure.CLOCKS, help="`processor` for a machine that others use too"
    )
    parser.add_argument("--amp", action=argparse.BooleanOptionalAction, help="mixed precision; as upstream on for CUDA")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--startup", type=int, metavar="IMAGES", help="measure the start with a file of answers alone")
    options = parser.parse_args(argv)
    if bad := [x for x in options.terms if "=" not in x or not x.startswith(("d", "distill_"))]:
        parser.error(f"--terms {bad[0]}: give distillation arguments as key=value, e.g. distill_feat=cwd")
    options.terms = dict(x.split("=", 1) for x in options.terms)
    options.amp = torch.device(options.device).type == "cuda" if options.amp is None else options.amp
    return options


def prepare(options: argparse.Namespace, folder: Path) -> tuple[torch.nn.Module, Path]:
    """Build the student, and save the teacher where the ways can load it."""
    torch.manual_seed(0)
    student = open_model(options.student).model.float().requires_grad_(True)
    if options.teacher.endswith(".pt"):
        return student, Path(options.teacher)
    open_model(options.teacher).save(folder / "teacher.pt")
    return student, folder / "teacher.pt"


def quieten() -> None:
    """Let a process say no more than warnings."""
    LOGGER.setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING)


def weigh(options: argparse.Namespace, name: str) -> float:
    """Weigh one way; this process does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        student, teacher = prepare(options, Path(folder))
        before = measure.held(torch.device(options.device))
        way, batch = Way(name, student, teacher, options), make_batch(student.yaml["nc"], options)
        return measure.weigh(way, batch, before)


def run(options: argparse.Namespace, argv: list[str]) -> dict[str, Any]:
    """Weigh and time all ways."""
    memory = {}
    # what the weighed processes free is given back to the system, so that it is not counted
    os.environ.update(MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    for name in [] if options.no_memory else options.ways:
        with ProcessPoolExecutor(1, get_context("spawn"), quieten) as pool:
            memory[name] = pool.submit(weigh, options, name).result()
    with tempfile.TemporaryDirectory() as folder:
        student, teacher = prepare(options, Path(folder))
        ways = {name: Way(name, student, teacher, options) for name in options.ways}
        batch = make_batch(student.yaml["nc"], options)
        times = measure.time_ways(ways, batch, options.steps, options.seconds, options.clock)
        said = ways["ours"].distill.step.teacher.describe() if "ours" in ways else None
    command = f"python scripts/benchmark.py {shlex.join(argv)}"
    about = {"command": command, **measure.about(options), "our_teacher": said}
    return {"about": about, "rows": measure.rows(times, memory), "milliseconds": times}


def table(found: list[dict[str, Any]]) -> str:
    """Return the rows as text of less than 90 columns."""
    lines = [["a step", "ms", "/ native", "quartiles", "/ floor", "/ plain", "MiB", "/ native"]]
    for r in found:
        between = "-".join(f"{x:.2f}" for x in r.get("by_native_quartiles", ()))
        ratios = [_ratio(r, "by_native"), between, _ratio(r, "by_floor"), _ratio(r, "by_plain")]
        mib = "" if r["mib"] is None else f"{r['mib']:.0f}"
        lines.append([LABELS[r["way"]], f"{r['ms']:.0f}", *ratios, mib, _ratio(r, "mib_by_native")])
    return tables.text(lines)


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


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Run the command line."""
    argv = sys.argv[1:] if argv is None else argv
    options, began = parse(argv), time.perf_counter()
    quieten()
    if options.startup:
        found = time_startup(options.startup)
        print(
            f"answers for {options.startup} images: {found['seconds']:.1f} s at start, {found['gib']:.2f} GiB at most"
        )
        return found
    found = run(options, argv)
    print(f"{sentence(found['about'])}\n\n{table(found['rows'])}\n")
    for row in (r for r in found["rows"] if r["way"] in MORE and "by_ours" in r):
        low, high = row["by_ours_quartiles"]
        print(f"half unlabeled / all labeled: {row['by_ours']:.3f}, quartiles {low:.3f} to {high:.3f}")
    print(f"{found['rows'][0]['steps']} rounds, {time.perf_counter() - began:.0f} s")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
