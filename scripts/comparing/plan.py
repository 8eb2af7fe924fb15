"""Runs what a comparison still lacks, each run in a process of its own, some side by side."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparing import rows
from ultralytics.distill.script import command

JOB = Path(__file__).resolve().parent / "job.py"
OURS = {"model", "data", "seed", "split", "project", "name", "exist_ok", "resume", "val", "plots", "save", "save_dir"}


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        method (str): `plain`, `native`, or `ours` with its arguments.
        seed (int): Its seed.
        terms (dict[str, Any]): What the method adds to the training arguments.
    """

    method: str
    seed: int
    terms: dict[str, Any] = field(hash=False)


class Plan:
    """What all runs of a comparison share, and the processes that are at work.

    Args:
        options (argparse.Namespace): The command line's.
        given (dict[str, Any]): Training arguments of all runs.
        said (str): The command, for the rows.

    Raises:
        ValueError: If an argument is not for the user to give, or a file is missing.
    """

    def __init__(self, options: argparse.Namespace, given: dict[str, Any], said: str):
        """Check what can be checked before anything is trained."""
        if bad := sorted(OURS & set(given)):
            raise ValueError(f"'--args {bad[0]}={given[bad[0]]}' is set for each run by the comparison; leave it out.")
        device = str(given.get("device", "")).strip("[]() ")
        if "," in device:
            raise ValueError(f"'--args device={device}' is several devices; give one, and more runs by --jobs.")
        teacher = Path(options.teacher)
        if not teacher.is_file():
            raise ValueError(f"'--teacher {teacher}' does not exist; give a trained checkpoint.")
        self.options, self.given, self.said = options, given, said
        self.arguments = " ".join(f"{k}={given[k]}" for k in sorted(given))
        self.sha = hashlib.sha256(teacher.read_bytes()).hexdigest()[:12]
        self.metrics: list[str] = []
        self.running: set[subprocess.Popen] = set()
        self.locks: dict[int, threading.Lock] = {}
        self.writing = threading.Lock()

    def go(self, runs: Sequence[Run]) -> int:
        """Run what has no row yet, and return how many runs failed."""
        for run in runs:
            command.check(self._train(run), self._train(run))
        self.locks = {r.seed: threading.Lock() for r in runs}
        done = {rows.identify(r) for r in rows.read(self.options.results)}
        left = [r for r in runs if rows.identify(self._who(r)) not in done]
        print(f"{len(runs)} runs, {len(runs) - len(left)} of them done before", flush=True)
        failed, began = 0, time.time()
        with ThreadPoolExecutor(self.options.jobs) as pool:
            futures = {pool.submit(self._one, r): r for r in left}
            try:
                for i, future in enumerate(as_completed(futures), 1):
                    run, error = futures[future], future.exception()
                    if isinstance(error, ValueError):
                        raise error
                    failed += error is not None
                    says = f"failed: {error}" if error else future.result()
                    minutes = (time.time() - began) / 60
                    print(f"[{i}/{len(left)}, {minutes:.0f} min] {run.method}, seed {run.seed}: {says}", flush=True)
            except BaseException:
                for future in futures:
                    future.cancel()
                for process in list(self.running):
                    process.terminate()
                raise
        return failed

    def _one(self, run: Run) -> str:
        """Train one run, add its row, and return its accuracy in words."""
        train, who = self._train(run), self._who(run)
        start = self._start(run)
        folder = self.options.runs / f"{_slug(run.method)}-{_code(who, without='seed split')}" / f"seed{run.seed}"
        job = {"train": train, "start": str(start), "folder": str(folder), "split": self.options.split}
        result = self._process({**job, "metric": rows.metrics(dict.fromkeys(self.metrics, ""))[0]}, folder)
        columns = rows.require_columns(self.options.results, self.metrics)
        row = {k: str(v) for k, v in result.items() if k in columns}
        with self.writing:
            rows.append(self.options.results, columns, {**who, **row, "command": self.said})
        return ", ".join(f"{k[8:]} {float(row[k]):.4f}" for k in rows.metrics(row))

    def _start(self, run: Run) -> Path:
        """Return the start weights of a seed, built if there are none yet."""
        who = {**self._who(run), "teacher": "", "teacher_sha256": "", "method": ""}
        start = self.options.runs / f"start-{_code(who, without='seed split')}" / f"seed{run.seed}.pt"
        with self.locks[run.seed]:
            notes = start.parent / start.stem / "result.json"
            if not (start.is_file() and notes.is_file()):
                train = self._train(Run("plain", run.seed, {}))
                self._process({"train": train, "start": str(start), "model": self.options.student}, notes.parent)
            metrics = json.loads(notes.read_text())["metrics"]
            rows.require_columns(self.options.results, metrics)
            self.metrics = metrics
        return start

    def _process(self, job: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Do a job in a process of its own and return its result; its output goes to `log.txt`."""
        folder.mkdir(parents=True, exist_ok=True)
        file, result = folder / "job.json", folder / "result.json"
        file.write_text(json.dumps({**job, "result": str(result), "threads": str(self.options.threads)}))
        result.unlink(missing_ok=True)
        env = {**os.environ, "OMP_NUM_THREADS": str(self.options.threads)}
        env["PYTHONPATH"] = os.pathsep.join(x for x in sys.path if x)
        with open(folder / "log.txt", "ab") as log:
            process = subprocess.Popen([sys.executable, str(JOB), str(file)], stdout=log, stderr=log, env=env)
            self.running.add(process)
            code = process.wait()
            self.running.discard(process)
        if code or not result.is_file():
            raise RuntimeError(f"see {folder / 'log.txt'}")
        return json.loads(result.read_text())

    def _train(self, run: Run) -> dict[str, Any]:
        """Return the training arguments of a run."""
        fixed = {"data": self.options.data, "seed": run.seed, "val": self.options.curve, "plots": False}
        return {**self.given, **run.terms, **fixed}

    def _who(self, run: Run) -> rows.Row:
        """Return the columns that tell which run it is; a plain run knows no teacher."""
        teacher = (self.options.teacher, self.sha) if run.terms else ("", "")
        first = (self.options.data, self.options.student, *teacher, run.method)
        return dict(zip(rows.WHO, (*first, str(run.seed), self.options.split, self.arguments)))


def _slug(text: str) -> str:
    """Return a method's name as part of a path."""
    return re.sub(r"[^\w.=-]+", "_", text)[:60].strip("_")


def _code(who: rows.Row, without: str) -> str:
    """Return a short code of a run without some of its columns, so that unlike runs never share a folder."""
    return hashlib.sha256(json.dumps([v for k, v in who.items() if k not in without.split()]).encode()).hexdigest()[:8]
