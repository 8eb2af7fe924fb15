"""Runs checks in processes of their own, one after the other, whatever becomes of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu_checks.stage import Stage

Check = Callable[["Stage"], "tuple[str, dict[str, Any]]"]  # what it found in words, and the figures


class Skip(Exception):
    """A check that cannot run here; its text says why."""


@dataclass
class Outcome:
    """What became of a check.

    Attributes:
        check (str): Its letter.
        result (str): `PASS`, `FAIL` or `SKIP`.
        says (str): Figures in words, or the reason.
        seconds (float): How long it took.
        figures (dict): The figures.
    """

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
