"""Times the ways in turns within one process, and weighs one that has a process of its own."""

from __future__ import annotations

import os
import random
import time
from argparse import Namespace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from benchmarking.ways import Way

WARMUP = 2  # steps that do not count: lazy buffers, primitive caches, the EMA's lists
WEIGHED = 3  # steps of the memory measurement
ABOUT = ("student", "teacher", "imgsz", "batch", "terms", "optimizer", "clock", "device", "amp")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def time_ways(
    ways: dict[str, Way], batch: dict[str, Any], steps: int, seconds: float, clock: str = "wall"
) -> dict[str, list[float]]:
    """Return the milliseconds of each step of each way; entry i of all ways comes from the same round.

    A round times one step of each way in an order drawn anew, so that drift hits all alike; none begins after so many
    seconds. The clock is `wall`, or `processor` for the time that this process computed, on a machine that others use.
    """
    device, order, now = batch["img"].device, random.Random(0), CLOCKS[clock]
    found: dict[str, list[float]] = {name: [] for name in ways}
    for way in list(ways.values()) * WARMUP:
        way.step(batch)
    began = time.perf_counter()
    for _ in range(steps):
        names = list(ways)
        order.shuffle(names)
        for name in names:
            _wait(device)
            start = now()
            ways[name].step(batch)
            _wait(device)
            found[name].append(1000 * (now() - start))
        if time.perf_counter() - began > seconds:
            break
    return found


def compare(times: dict[str, list[float]], name: str, other: str) -> tuple[float, float, float]:
    """Return the median and the quartiles of the ratio of two ways, taken round by round."""
    ratios = [a / b for a, b in zip(times[name], times[other])]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return median(ratios), low, high


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


def weigh(way: Way, batch: dict[str, Any], before: float) -> float:
    """Return the most memory that steps of one way hold, in MiB above what `held` said before it was built.

    On CUDA that is the allocator's own figure. On a CPU it is the peak of the process's resident memory, which counts
    everything: weights, optimizer slots, activations, workspaces of the kernels. Linux only; elsewhere it is nan.
    """
    way.step(batch)  # optimizer slots, gradients and the EMA's lists
    if batch["img"].device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        for _ in range(WEIGHED):
            way.step(batch)
        return torch.cuda.max_memory_allocated() / 2**20 - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is held now
    except OSError:
        return float("nan")
    for _ in range(WEIGHED):
        way.step(batch)
    return status("VmHWM") - before


def held(device: torch.device) -> float:
    """Return the memory that this process holds on a device, in MiB."""
    return torch.cuda.memory_allocated() / 2**20 if device.type == "cuda" else status("VmRSS")


def about(options: Namespace) -> dict[str, Any]:
    """Return what has to be known to read the figures."""
    device = torch.device(options.device)
    found = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    named = {k: getattr(options, k) for k in ABOUT}
    return {**named, "machine": found, "threads": torch.get_num_threads(), "torch": torch.__version__}


def _processor() -> str:
    """Return the processor's name and the capabilities that matter here."""
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    names = [k for k in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "avx512_vnni") if flags.get(k)]
    return f"{flags.get('cpu_name') or 'CPU'}, {os.cpu_count()} cores, {' '.join(names)}".rstrip(", ")


def status(key: str) -> float:
    """Return a size of this process, in MiB, as the kernel counts it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(key + ":")), float("nan"))


def _wait(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
