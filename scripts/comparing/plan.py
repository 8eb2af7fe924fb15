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
from pathlib import Path
from typing import Any

from comparing import rows
from comparing.run import Run
from comparing.subsets import Subsets, names_unlabeled
from comparing.verdict import LAST
from ultralytics.distill.script import command
from ultralytics.distill.teacher.headroom import main_metric

JOB = Path(__file__).resolve().parent / "job.py"
OURS = {"model", "data", "seed", "split", "project", "name", "exist_ok", "resume", "val", "plots", "save", "save_dir"}
OURS |= {"patience"}  # all runs take as many steps
TEACHERS = {"model_t", "distill_model"}


class Plan:
    """What all runs of a comparison share, and the processes that are at work.

    Raises:
        ValueError: If an argument of `given`, the training arguments of all runs, is not for the user to give.
    """

    def __init__(self, options: argparse.Namespace, given: dict[str, Any], said: str):
        """Check what can be checked before anything is trained."""
        if bad := sorted(OURS & set(given)):
            raise ValueError(f"'--args {bad[0]}={given[bad[0]]}' is set for each run by the comparison; leave it out.")
        device = str(given.get("device", "")).strip("[]() ")
        if "," in device:
            raise ValueError(f"'--args device={device}' is several devices; give one, and more runs by --jobs.")
        self.options, self.given, self.said = options, given, said
        self.arguments = " ".join(f"{k}={given[k]}" for k in sorted(given))
        self.subsets: Subsets | None = None
        self.metrics: list[str] = []
        self.shas: dict[Path, str] = {}
        self.running: set[subprocess.Popen] = set()
        self.locks: dict[Path, threading.Lock] = {}  # of what several runs need, by its folder
        self.writing = threading.Lock()

    def lists(self, runs: Sequence[Run]) -> list[Path]:
        """Write the lists of images of all runs' shares, and return the data YAML of each.

        Raises:
            ValueError: If the data has no label files, or an argument does not go with shares.
        """
        self.subsets = Subsets(self.options, self.given)
        shares = dict.fromkeys((r.labels, r.seed) for r in runs if r.labels != 1)
        return [self.subsets.write(*x) / "plain.yaml" for x in shares]

    def go(self, runs: Sequence[Run]) -> int:
        """Run what has no row yet, and return how many runs failed.

        Raises:
            ValueError: If a file is missing, or an argument does not go with shares of the labels.
        """
        runs = self._prepare(runs)
        for run in runs:
            command.check(self._train(run), self._train(run))
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
                    print(f"[{i}/{len(left)}, {minutes:.0f} min] {run}: {says}", flush=True)
            except BaseException:
                for future in futures:
                    future.cancel()
                for process in list(self.running):
                    process.terminate()
                raise
        return failed

    def _prepare(self, runs: Sequence[Run]) -> list[Run]:
        """Check the teachers, write the lists of images, and leave out runs that would have no other images."""
        for run in (r for r in runs if r.method != "plain"):
            if not self._teacher(run).is_file():
                raise ValueError(
                    f"'--teacher {self._teacher(run)}' does not exist; give a trained checkpoint. "
                    "The images to train one on few labels are listed by the same command with --lists."
                )
        if any(r.is_subset for r in runs) or names_unlabeled(self.options.data):
            self.lists(runs)
        left = []
        for run in runs:
            if self.subsets and run.uses_rest and not self.subsets.has_rest(run):
                print(f"{run}: left out, since no image is without labels; --unlabeled adds some", flush=True)
            else:
                left.append(run)
        return left

    def _one(self, run: Run) -> str:
        """Train one run, add its row, and return its accuracy in words."""
        train, who = self._train(run), self._who(run)
        start = self._start(run)
        ahead = self._look(run, start) if run.method != "plain" else ""
        if run.is_pseudo:
            pseudo = Path(train["data"]).with_suffix("")
            args = {k: train[k] for k in ("imgsz", "device", "batch") if k in train}
            files = {"teacher": str(self._teacher(run)), "start": str(start), "rest": str(pseudo.parent / "rest.txt")}
            self._once({"do": "label", **files, "images": str(pseudo / "images"), "predict": args}, pseudo)
        folder = self.options.runs / f"{_slug(run.method)}-{_code(who, without='seed split')}" / f"seed{run.seed}"
        job = {"do": "run", "train": train, "start": str(start), "folder": str(folder), "split": self.options.split}
        job["int8"] = self.options.int8
        job["metric"] = rows.metrics(dict.fromkeys(self.metrics, ""))[0]
        job["main"] = main_metric(self.metrics) or self.metrics[0]
        result = self._process({**job, "last": LAST}, folder)
        columns = rows.require_columns(self.options.results, self.metrics)
        row = {k: str(v) for k, v in result.items() if k in columns}
        with self.writing:
            rows.append(self.options.results, columns, {**who, **row, "teacher_accuracy": ahead, "command": self.said})
        return ", ".join(f"{k[8:]} {float(row[k]):.4f}" for k in rows.metrics(row))

    def _start(self, run: Run) -> Path:
        """Return the start weights of a seed, built if there are none yet."""
        who = {**self._who(run), "teacher": "", "teacher_sha256": "", "method": "", "labels": "1"}
        start = self.options.runs / f"start-{_code(who, without='seed split')}" / f"seed{run.seed}.pt"
        job = {"do": "start", "train": self._train(Run("plain", run.seed, {})), "model": self.options.student}
        notes = self._once({**job, "start": str(start)}, start.with_suffix(""))
        metrics = notes["metrics"] + [rows.INT8] * self.options.int8
        rows.require_columns(self.options.results, metrics)
        self.metrics = metrics
        return start

    def _look(self, run: Run, start: Path) -> str:
        """Return the teacher's accuracy on the images that the students are judged by; nothing if it has none there."""
        train = self._train(run)
        args: dict[str, Any] = {"data": self.options.data, "split": self.options.split}
        args.update((k, train[k]) for k in ("batch", "device", "workers", "single_cls", "imgsz") if k in train)
        args.update({"imgsz": train["distill_imgsz"]} if train.get("distill_imgsz") else {})
        job = {"do": "look", "teacher": str(self._teacher(run)), "start": str(start), "val": args}
        code = hashlib.sha256(json.dumps([self._sha(run), args]).encode()).hexdigest()[:8]
        found = self._once(job, self.options.runs / f"teacher-{code}")
        key = main_metric(found)
        return f"{found[key]:.5g}" if key else ""

    def _once(self, job: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Do a job that several runs need, unless it is done, and return its result."""
        result = folder / "result.json"
        with self.locks.setdefault(folder, threading.Lock()):
            if not result.is_file() and "error" in (found := self._process(job, folder)):
                print(f"teacher {job['teacher']} is not measured: {found['error']}", flush=True)
            return json.loads(result.read_text())

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

    def _teacher(self, run: Run) -> Path:
        """Return the teacher of a run, whose name may hold its share of the labels and its seed."""
        return Path(str(self.options.teacher).replace("{labels}", f"{run.labels:g}").replace("{seed}", str(run.seed)))

    def _sha(self, run: Run) -> str:
        """Return the beginning of a run's teacher's sha256."""
        file = self._teacher(run)
        if file not in self.shas:
            self.shas[file] = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        return self.shas[file]

    def _train(self, run: Run) -> dict[str, Any]:
        """Return the training arguments of a run."""
        fixed = {"data": self.options.data, "seed": run.seed, "val": self.options.curve, "plots": False, "patience": 0}
        terms = {k: str(self._teacher(run)) if k in TEACHERS else v for k, v in run.terms.items()}
        train = {**self.given, **terms, **fixed}
        if self.subsets:
            train.update(self.subsets.arguments(run, train, self._sha(run) if run.is_pseudo else ""))
        return train

    def _who(self, run: Run) -> rows.Row:
        """Return the columns that tell which run it is; a plain run knows no teacher."""
        teacher = ("", "") if run.method == "plain" else (self.options.teacher, self._sha(run))
        first = (self.options.data, self.options.student, *teacher, run.method)
        return dict(zip(rows.WHO, (*first, str(run.seed), self.options.split, self.arguments, f"{run.labels:g}")))


def _slug(text: str) -> str:
    """Return a method's name as part of a path."""
    return re.sub(r"[^\w.=-]+", "_", text)[:60].strip("_")


def _code(who: rows.Row, without: str) -> str:
    """Return a short code of a run without some of its columns, so that unlike runs never share a folder."""
    return hashlib.sha256(json.dumps([v for k, v in who.items() if k not in without.split()]).encode()).hexdigest()[:8]
