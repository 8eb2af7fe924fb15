# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Measures which releases the series goes into: a row each, whether it fits, trains two steps, and reverts to the byte.

Usage:
    python scripts/releases.py 8.4.190 8.3.78 ...
    python scripts/releases.py            # all whose sha256 is known
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from patching import PatchError, Repo, target
from patching.series import read_pin
from patching.wheel import obtain, read_wheel

REPO = Repo(Path(__file__).resolve().parent.parent)


def files_in(root: Path) -> dict[str, bytes]:
    """Return the files below a folder, bytecode aside."""
    found = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def measure(version: str) -> tuple[str, str, str, str]:
    """Return what is left out, and whether a release fits, trains and reverts; a failure says why."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, data in read_wheel(obtain(REPO, read_pin(REPO), version))[0].items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        before = files_in(root)
        try:
            target.apply(REPO, root, tried=False, log=said.append)
        except PatchError as error:
            return "", str(error), "", ""
        left_out = ", ".join(line.split()[3].rstrip(":") for line in said if line.startswith("* leaving out"))
        try:
            target.try_out(root)
            trains = "yes"
        except PatchError as error:
            trains = str(error)
        target.revert(REPO, root, log=said.append)
        return left_out or "nothing", "yes", trains, "yes" if files_in(root) == before else "no"


def main(versions: list[str]) -> None:
    """Print the table."""
    pin = read_pin(REPO)
    print("| release | fits | left out | trains | reverts |\n|---|---|---|---|---|", flush=True)
    for version in versions or [*pin.wheels, pin.version]:
        left_out, fits, trains, reverts = measure(version)
        print(f"| {version} | {fits} | {left_out} | {trains} | {reverts} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
