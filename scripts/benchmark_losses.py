# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Time and memory of each distillation loss, on what yolov8n <- yolov8s gives it.

    python scripts/benchmark_losses.py --batch 16 --imgsz 640 --device cpu

Each loss runs forward and backward on random maps of P3 to P5 (feature and relation terms, one instance a level) or on
random predictions (response terms). The milliseconds are the median over the repeats; the align layers in front are not
part of them. On a CPU the processor's own time, all threads together, stands beside the clock's: where the clock ran
longer than that, other work was on the machine, and the processor's time is the one to trust. The bytes are what
autograd keeps between forward and backward, each storage counted once, without the inputs and the loss's own
parameters, which are there anyway.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import tables
from ultralytics.distill.losses import FEATURE, RELATION, RESPONSE

STRIDES = 8, 16, 32
WIDTHS_S, WIDTHS_T = (64, 128, 256), (128, 256, 512)  # yolov8n, yolov8s
NC, BINS, HEAD = 80, 16, 128  # classes, bins of a box side, channels of yolov8s' class branch
MASKS, KEYPOINTS = 32, (17, 3)  # of a segmentation and a pose head
OBJECTS = 7  # an image; COCO's mean
PATIENCE = 10.0  # seconds a loss, after which it is not repeated again
MIB = 2**20


class Terms(nn.Module):
    """The losses of all levels as one, with their inputs."""

    def __init__(self, name: str, batch: int, imgsz: int, device: torch.device):
        """Build losses and inputs by the loss's name."""
        super().__init__()
        n, sizes = batch, [imgsz // s for s in STRIDES]

        def rand(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device=device)

        self.batch = {"bboxes": 0.1 + 0.3 * torch.rand(n * OBJECTS, 4, device=device)}
        self.batch["batch_idx"] = torch.arange(n, device=device).repeat_interleave(OBJECTS).float()
        if name in RESPONSE:
            self.losses = nn.ModuleList([RESPONSE[name]()])
            self.pairs: list[tuple[Any, Any]] = [self.predictions(name, n, sizes, rand)]
            return
        cls = {**FEATURE, **RELATION}[name]
        widths = [{"channels_s": s, "channels_t": t} for s, t in zip(WIDTHS_S, WIDTHS_T)]
        wanted = {"mgd": ["channels_t"], "fgd": ["channels_t"], "sl2": list(widths[0]), "crd": list(widths[0])}
        self.losses = nn.ModuleList(cls(**{k: w[k] for k in wanted.get(name, [])}) for w in widths).to(device)
        self.pairs = [
            (rand(n, t if cls.align else s, k, k).requires_grad_(), rand(n, t, k, k))
            for s, t, k in zip(WIDTHS_S, WIDTHS_T, sizes)
        ]
        self.scores = [rand(n, NC, k, k) for k in sizes] if cls.needs_scores else [None] * 3

    @staticmethod
    def predictions(name: str, n: int, sizes: list[int], rand: Any) -> tuple[dict, dict]:
        """Return raw predictions of student and teacher."""
        k = sizes[0]
        dense = {"kl": ("scores", 1000), "dist": ("scores", 1000), "cwdmap": ("scores", NC, k, k)}
        dense["depth"] = ("log_depth", 1, 2 * k, 2 * k)
        if name in dense:
            key, *shape = dense[name]
            return {key: rand(n, *shape).requires_grad_()}, {key: rand(n, *shape)}
        a = sum(k * k for k in sizes)
        student, teacher = {"shapes": [(k, k) for k in sizes], "strides": list(STRIDES)}, {}
        shapes = {"scores": (NC, a), "boxes": (4 * BINS, a), "angle": (1, a), "keypoints": (*KEYPOINTS, a)}
        shapes |= {"mask_coefficient": (MASKS, a), "proto": (MASKS, 2 * k, 2 * k)}
        reads = {**dict.fromkeys(("ld", "giou", "l1"), ["boxes"]), "mse": ["scores", "boxes"]}
        reads |= {"probiou": ["boxes", "angle"]}
        reads |= {"mask": ["mask_coefficient", "proto"], "pose": ["keypoints"]}
        for key in reads.get(name, ["scores"]):
            student[key], teacher[key] = rand(n, *shapes[key]).requires_grad_(), rand(n, *shapes[key])
        teacher |= {"shapes": student["shapes"], "strides": student["strides"]}
        for key in ["scores"] + ["boxes"] * (name in {"mask", "pose", "crossld", "crossgiou"}):
            teacher.setdefault(key, rand(n, *shapes[key]))
        if name.startswith("cross"):
            width, outputs = (HEAD, NC) if name == "crosskd" else (4 * BINS, 4 * BINS)
            student = {"head": [rand(n, width, k, k).requires_grad_() for k in sizes]}
            teacher["head"] = [rand(n, width, k, k) for k in sizes]
            teacher["tail"] = [
                nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, outputs, 1))
                .to(teacher["scores"])
                .requires_grad_(False)
                for _ in sizes
            ]
        return student, teacher

    def tensors(self) -> list[torch.Tensor]:
        """Return the inputs of both sides."""
        return [x for x in tree_leaves(self.pairs) if isinstance(x, torch.Tensor)]

    def forward(self) -> torch.Tensor:
        """Return the sum over the levels."""
        total: Any = 0
        for i, (loss, (s, t)) in enumerate(zip(self.losses, self.pairs)):
            batch = {**self.batch, "teacher_scores": self.scores[i]} if hasattr(self, "scores") else self.batch
            total = total + loss(s, t, batch)
        return total


def kept(terms: Terms) -> int:
    """Return the bytes that autograd keeps for backward, beyond inputs and parameters."""
    known = {x.untyped_storage().data_ptr() for x in [*terms.tensors(), *terms.parameters()]}
    for _, teacher in terms.pairs:
        if isinstance(teacher, dict):
            known |= {p.untyped_storage().data_ptr() for m in teacher.get("tail", ()) for p in m.parameters()}
    storages = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        s = x.untyped_storage()
        if s.data_ptr() not in known:
            storages[s.data_ptr()] = s.nbytes(), x  # the tensor too, so that its address is not given away again
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        terms()
    return sum(size for size, _ in storages.values())


def milliseconds(terms: Terms, repeats: int, device: torch.device) -> tuple[float, float]:
    """Return the median time of forward and backward by the clock and by the processor, after one run for warmth."""
    times = []
    for _ in range(repeats + 1):
        for x in [*terms.tensors(), *terms.parameters()]:
            x.grad = None
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter(), time.process_time()
        terms().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1])))
        if sum(wall for wall, _ in times) > 1000 * PATIENCE:
            break
    wall, processor = zip(*(times[1:] or times))
    return median(wall), median(processor)


def measure(batch: int, imgsz: int, device: torch.device, repeats: int, names: list[str]) -> list[dict[str, Any]]:
    """Return one row a loss."""
    rows = []
    for kind, losses in (("feature", FEATURE), ("response", RESPONSE), ("relation", RELATION)):
        for name in losses:
            if names and name not in names:
                continue
            terms = Terms(name, batch, imgsz, device)
            wall, processor = milliseconds(terms, repeats, device)
            row = {"loss": name, "kind": kind, "ms": wall, "cpu_ms": processor, "kept": kept(terms)}
            rows.append({**row, "inputs": sum(x.untyped_storage().nbytes() for x in terms.tensors())})
    return rows


def table(rows: list[dict[str, Any]], markdown: bool) -> str:
    """Return the rows as text, for a terminal or as Markdown."""
    lines = [["loss", "kind", "ms", "cpu ms", "kept, MiB", "inputs, MiB"]]
    for r in rows:
        sizes = (r["ms"], r["cpu_ms"], r["kept"] / MIB, r["inputs"] / MIB)
        lines.append([r["loss"], r["kind"], *(f"{x:.1f}" for x in sizes)])
    return (tables.markdown if markdown else tables.text)(lines, left={0, 1})


def main(args: list[str] | None = None) -> list[dict[str, Any]]:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--imgsz", type=int, default=640, help="side of the images in pixels, a multiple of 32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each loss")
    parser.add_argument("--losses", nargs="*", default=[], choices=[*FEATURE, *RESPONSE, *RELATION], metavar="NAME")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    form.add_argument("--json", action="store_true", help="print JSON, times in ms, sizes in bytes")
    a = parser.parse_args(args)
    device = torch.device(a.device)
    torch.manual_seed(0)
    rows = measure(a.batch, a.imgsz, device, a.repeats, a.losses)
    cuda = device.type == "cuda"
    where = torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} threads of {platform.machine()}"
    about = f"batch {a.batch}, {a.imgsz} px, {where}, torch {torch.__version__}"
    print(json.dumps({"about": about, "rows": rows}, indent=1) if a.json else f"{about}\n\n{table(rows, a.markdown)}")
    return rows


if __name__ == "__main__":
    main()
