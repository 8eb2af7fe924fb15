# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The two sides: a folder each with a tree, the tests, the same data and checkpoints, and settings of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from patching import PACKAGE, PatchError, Repo, target
from patching.series import Pin, read_pin
from patching.wheel import obtain, read_wheel
from suite import data, sdist

SCRIPTS = Path(__file__).resolve().parent.parent
SIDES = ("stock", "patched")
NOWHERE = "http://127.0.0.1:9"  # nothing listens there: what ignores YOLO_OFFLINE fails at once instead of waiting
YOLO = "import re, sys; from ultralytics.cfg import entrypoint; sys.argv[0] = 'yolo'; entrypoint()"
SETTINGS = """
import sys
from pathlib import Path
from ultralytics import settings
root = Path(sys.argv[1])
settings.update({f"{k}_dir": str(root / k) for k in ("datasets", "weights", "runs")})
"""


@dataclass(frozen=True)
class Outcome:
    """How one test ended: `passed`, `failed`, `error` or `skipped`, and why, in the first line of the message."""

    status: str
    reason: str = ""


def prepare(repo: Repo, folder: Path, name: str) -> Path:
    """Lay out one of `SIDES` in a folder and return its own; the second takes data and checkpoints from the first."""
    side = folder / name
    pin = lay_tree(repo, side, patched=name == "patched")
    sdist.unpack_tests(sdist.obtain(pin.version, repo.cache), side / "tests")
    (side / "bin").mkdir(exist_ok=True)
    command = side / "bin/yolo"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{YOLO}" "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    run_python(side, "-c", SETTINGS, str(side))
    if name == SIDES[0]:
        data.draw_datasets(side / "datasets")
        run_python(side, "-m", "suite.checkpoints", str(side / "weights"))
        assets = run_python(side, "-c", "import tests; print(*tests.SOLUTION_ASSETS.values())").split()
        data.draw_videos(side / "weights/solution_assets", assets[-10:])
    else:
        for part in ("datasets", "weights"):
            shutil.copytree(folder / SIDES[0] / part, side / part, dirs_exist_ok=True)
    return side


def lay_tree(repo: Repo, side: Path, patched: bool) -> Pin:
    """Write upstream's tree into a side, and put the series and our package in where asked; return the pin."""
    pin = read_pin(repo)
    tree, facts = read_wheel(obtain(repo, pin))
    tree[f"{PACKAGE}-{pin.version}.dist-info/METADATA"] = facts["METADATA"]  # `yolo checks` reads the requirements
    for path, content in tree.items():
        file = side / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if patched:
        target.apply(repo, side, tried=False, log=lambda said: None)
    return pin


def environment(side: Path) -> dict[str, str]:
    """Return the environment of a side's processes: its tree, its settings, no network, no installing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "YOLO_"))}
    proxies = {k: NOWHERE for name in ("http_proxy", "https_proxy", "all_proxy") for k in (name, name.upper())}
    return {
        **kept,
        **proxies,
        "PYTHONPATH": os.pathsep.join((str(side), str(SCRIPTS))),
        "PATH": os.pathsep.join((str(side / "bin"), os.environ.get("PATH", ""))),
        "YOLO_CONFIG_DIR": str(side / "config"),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
    }


def run_python(side: Path, *line: str) -> str:
    """Run Python in a side; return what it printed.

    Raises:
        PatchError: If it fails, with the last line that it said.
    """
    (side / "config").mkdir(parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, *line], cwd=side, env=environment(side), capture_output=True, text=True)
    if done.returncode:
        raise PatchError(f"{line[:2]} failed in {side}: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return done.stdout


def run_tests(side: Path, file: str, limit: int, extra: list[str]) -> dict[str, Outcome]:
    """Run one file of upstream's tests in a side, where a test may take `limit` seconds.

    Returns:
        (dict[str, Outcome]): By test, e.g. `test_cli.py::test_train[...]`.
    """
    report = side / f"{Path(file).stem}.xml"
    report.unlink(missing_ok=True)
    line = [sys.executable, "-m", "pytest", f"tests/{file}", "-q", f"--junitxml={report}", f"--timeout={limit}"]
    line += ["--rootdir", str(side), "-p", "no:cacheprovider", "-o", "junit_logging=no", *extra]
    with open(side / f"{report.stem}.log", "w", encoding="utf-8") as log:
        subprocess.run(line, cwd=side, env=environment(side), stdout=log, stderr=subprocess.STDOUT)
    if not report.is_file():
        raise PatchError(f"pytest broke off in {side}: see {log.name}.")
    return read_report(report)


def read_report(file: Path) -> dict[str, Outcome]:
    """Read a report in JUnit's form, as pytest writes it."""
    found = {}
    for case in ET.parse(file).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name')}"
        bad = next((x for x in case if x.tag in {"failure", "error", "skipped"}), None)
        if bad is None:
            found[name] = Outcome("passed")
        else:
            status = {"failure": "failed"}.get(bad.tag, bad.tag)
            found[name] = Outcome(status, (bad.get("message") or "").strip().partition("\n")[0][:200])
    return found
