# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Ports the series to another release: strictly where it fits, else by three-way merge, and tries the result out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from . import PACKAGE, PatchError, Repo
from .carry import CONFLICT, THERE, Carried, carry
from .diff import split_lines
from .pin import Pin, read_pin
from .place import add_diffs
from .refresh import make_files
from .series import Patch, read_series
from .swap import swap
from .target import require_whole
from .tree import overlay_files
from .wheel import obtain_release, read_wheel, sha256, upstream

SMOKE = Path(__file__).resolve().parent.parent / "smoke.py"
LIMIT = 900  # seconds; the smoke test needs less than one minute on an idle core


@dataclass(frozen=True)
class Port:
    """The series on another release.

    Attributes:
        repo (Repo): The patch repository.
        pin (Pin): The pin of the release; its table of files is still empty.
        patches (list[Patch]): The series.
        files (dict[str, bytes]): The release's files.
        carried (Carried): What became of each patch.
    """

    repo: Repo
    pin: Pin
    patches: list[Patch]
    files: dict[str, bytes]
    carried: Carried

    @property
    def words(self) -> list[str]:
        """(list[str]): What became of each patch: clean, moved, there already, conflict."""
        return [outcome.word for outcome in self.carried.outcomes]

    @property
    def needs_a_hand(self) -> bool:
        """(bool): Whether a patch conflicts, has nothing left to do, or would break a file."""
        return bool({CONFLICT, THERE} & {*self.words} or self.carried.broken)


def make_port(repo: Repo, version: str) -> Port:
    """Work out in memory what the series makes of another release.

    Args:
        repo (Repo): The patch repository.
        version (str): The release, or `newest`.

    Returns:
        (Port): The port; it may hold conflicts.
    """
    pin, patches = read_pin(repo.patches / "upstream.toml"), read_series(repo)
    version, wheel = obtain_release(repo, version)
    files = read_wheel(wheel)[0]
    new = replace(pin, version=version, wheel=wheel.name, sha256=sha256(wheel.read_bytes()), files={})
    return Port(repo, new, patches, files, carry(patches, upstream(repo, pin), files))


def report(port: Port, log: Callable[[str], None] = print) -> None:
    """Tell the release's hash, one line a patch, and the hunks that conflict."""
    log(f"{port.pin.wheel} sha256={port.pin.sha256}")
    for outcome in port.carried.outcomes:
        hint = f": {PACKAGE} {port.pin.version} has it, drop the patch" if outcome.word == THERE else ""
        log(f"* {outcome.patch.title}: {outcome.tell()}{hint}")
    for line in port.carried.describe(port.pin.version):
        log(f"  {line}")
    for place in port.carried.broken:
        log(f"  {place} would no longer be valid Python")


def try_out(port: Port, log: Callable[[str], None] = print) -> bool:
    """Run the smoke test on the ported tree in a temporary folder.

    Args:
        port (Port): The port, without conflicts.
        log (Callable[[str], None]): Takes the result in one line.

    Returns:
        (bool): Whether it passed.
    """
    with tempfile.TemporaryDirectory(prefix="patchset-port-") as name:
        folder = Path(name)
        patched = {path: steps[-1] for path, steps in port.carried.steps.items()}
        swap(folder / "tree", dict({**port.files, **patched, **overlay_files(port.repo)}))
        shutil.copy(SMOKE, folder)  # away from the repository, whose own tree would be imported first
        offline = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder / "config")}
        place = {"PYTHONPATH": str(folder / "tree"), "MPLBACKEND": "Agg"}
        command = [sys.executable, str(folder / SMOKE.name), str(folder / "runs")]
        try:
            environment = {**os.environ, **offline, **place}
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT)
            reason = (
                "" if not done.returncode else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
            )
        except subprocess.TimeoutExpired:
            reason = f"not done after {LIMIT} seconds"
    log(f"smoke test: {reason or 'passed'}")
    return not reason


def write(port: Port, log: Callable[[str], None] = print) -> None:
    """Make the release the pin, and the ported series the series; the tree is left for the next `apply`.

    Args:
        port (Port): The port.
        log (Callable[[str], None]): Takes one line.

    Raises:
        PatchError: If a patch does not fit, or has nothing left to do; nothing is written then.
    """
    require_whole(port.carried, f"{PACKAGE} {port.pin.version}: nothing was written")
    old = port.repo
    new = Repo(old.root, port.pin.version) if old.line else old
    diffs: list[dict[str, bytes]] = [{} for _ in port.patches]
    for path, steps in port.carried.steps.items():
        add_diffs(diffs, path, [split_lines(step) for step in steps])
    made = make_files(new, port.patches, [patch.name for patch in port.patches], diffs, port.pin, port.files)
    gone = dict.fromkeys(f"{old.folder}/{path.name}" for path in old.patches.iterdir()) if new != old else {}
    swap(old.root, {**gone, **made})
    if new != old:
        old.patches.rmdir()
    log(f"* {new.folder} is for {port.pin.version} now; `patchset.py apply` swaps the tree")


def require_release(version: str) -> str:
    """Refuse what is no version before anything is downloaded.

    Args:
        version (str): A version, or `newest`.

    Returns:
        (str): The same.
    """
    if version != "newest" and not version.replace(".", "").isalnum():
        raise PatchError(f"{version!r} is no release: give a version such as 8.4.1, or newest.")
    return version
