"""Settles in at most eight minutes whether distillation does on this GPU what it should.

    python scripts/check_gpu.py

A line a check, with PASS or FAIL and its figures, and the same as JSON. Data are drawn and weights random: nothing is
downloaded. `--device cpu --small` runs what a CPU can. docs/speed.md says what each line means.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

from gpu_checks import processes, runs, teachers
from gpu_checks.stage import Skip, Stage

Check = Callable[[Stage], "tuple[str, dict[str, Any]]"]  # what it found in words, and the figures
CHECKS: dict[str, Check] = {
    "a": teachers.fast_teacher,
    "b": teachers.equal_step,
    "c": runs.flat_memory,
    "d": teachers.step_time,
    "e": runs.overflow,
    "f": runs.auto_batch,
    "g": runs.out_of_memory,
    "h": runs.compiled,
    "i": processes.several,
    "j": processes.killed,
    "k": teachers.looks,
}
GROUPS = (("a", "b"), *((x,) for x in "cdefghijk"))  # what shares a process
MINUTES = 8.0
LONGEST = 120.0  # seconds of one process


@dataclass
class Outcome:
    """A check's letter, `PASS`, `FAIL` or `SKIP`, its figures in words or the reason, its time, and the figures."""

    check: str
    result: str
    says: str
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The line that is printed."""
        return f"{self.check}  {self.result}  {self.seconds:5.0f} s  {self.says}"


def attempt(letter: str, check: Check, stage: Stage) -> Outcome:
    """Run a check here; an error is its outcome."""
    began = time.perf_counter()
    figures: dict[str, Any] = {}
    try:
        says, figures = check(stage)
        result = "PASS"
    except Skip as e:
        result, says = "SKIP", str(e)
    except Exception as e:
        traceback.print_exc()
        result, says = "FAIL", f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}"
    return Outcome(letter, result, says, time.perf_counter() - began, figures)


def run_group(letters: Sequence[str], command: Sequence[str], folder: Path, limit: float) -> list[Outcome]:
    """Run some checks in a new process, which has so many seconds, and return an outcome for each.

    The command is given `--only` and `--write`. The folder holds what it says, `a.log`, and its outcomes, `a.json`.
    What it started is killed with it.
    """
    file, log, began = folder / f"{letters[0]}.json", folder / f"{letters[0]}.log", time.perf_counter()
    line = [*command, "--only", *letters, "--write", str(file)]
    why = "no time was left for it"
    if limit > 0:
        with open(log, "w", encoding="utf-8") as f:
            process = subprocess.Popen(line, stdout=f, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                why = f"its process ended with code {process.wait(limit)}, see {log}"
            except subprocess.TimeoutExpired:
                why = f"it took longer than {limit:.0f} s, see {log}"
            finally:
                _end(process)
    done = {x["check"]: Outcome(**x) for x in json.loads(file.read_text())} if file.is_file() else {}
    return [done.get(x) or Outcome(x, "FAIL", why, time.perf_counter() - began) for x in letters]


def _end(process: subprocess.Popen) -> None:
    """Kill a process and what it started, which share a session."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.kill()
    process.wait()


def work(letters: Sequence[str], checks: Mapping[str, Check], stage: Stage, file: Path) -> None:
    """Run checks in this process; the file has each outcome as soon as it is known."""
    found: list[dict[str, Any]] = []
    for letter in letters:
        found.append(asdict(attempt(letter, checks[letter], stage)))
        file.write_text(json.dumps(found))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="0", help="number of a GPU, or cpu")
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--only", nargs="*", default=list(CHECKS), choices=list(CHECKS), help="checks to run")
    parser.add_argument("--json", type=Path, default=Path("check_gpu.json"), metavar="FILE", help="where to write it")
    parser.add_argument("--folder", type=Path, help="keeps data, runs and logs; by default a temporary one is removed")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)  # of the process that runs some checks
    options = parser.parse_args(argv)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("--device: torch sees no GPU here; --device cpu --small runs what a CPU can")
    return options


def run(options: argparse.Namespace, folder: Path) -> list[Outcome]:
    """Run all checks and print their lines as they come."""
    began, found = time.perf_counter(), []
    stage = Stage(folder, options.device, options.small)
    stage.prepare()
    command = [sys.executable, str(Path(__file__).resolve()), "--device", options.device, "--folder", str(folder)]
    for group in GROUPS:
        if letters := [x for x in group if x in options.only]:
            left = 60 * MINUTES - (time.perf_counter() - began) if not options.small else LONGEST
            more = run_group(letters, command + ["--small"] * options.small, folder, min(left, LONGEST))
            found += more
            print("\n".join(x.line for x in more), flush=True)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 if a check failed."""
    options = parse(argv)
    if options.write:
        stage = Stage(options.folder, options.device, options.small)
        work(options.only, CHECKS, stage, options.write)
        return 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = run(options, folder)
    name = "cpu" if options.device == "cpu" else torch.cuda.get_device_name(int(options.device))
    about = {"device": name, "torch": torch.__version__, "small": options.small}
    options.json.write_text(json.dumps({"about": about, "checks": [asdict(x) for x in found]}, indent=1) + "\n")
    failed = [x.check for x in found if x.result == "FAIL"]
    print(f"{name}, torch {torch.__version__}: " + (f"failed: {', '.join(failed)}" if failed else "nothing failed"))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
