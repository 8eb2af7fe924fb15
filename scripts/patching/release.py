# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Makes a release: raises our number in every line, closes the changelog's open part, and builds the wheel."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable

from . import PatchError
from .pin import find_lines, pin_text, read_pin
from .series import read_names
from .swap import swap

OPEN = "## Unreleased\n"


def release(root: Path, build: bool = True, log: Callable[[str], None] = print) -> None:
    """Make a release.

    Args:
        root (Path): Folder that holds `patches/` and `CHANGELOG.md`.
        build (bool): Whether to build the wheel of the pin into `dist/`.
        log (Callable[[str], None]): Takes one line a step.

    Raises:
        PatchError: If the changelog has no open part, or a series does not set its version; nothing is written then.
    """
    changes = root / "CHANGELOG.md"
    text = changes.read_text(encoding="utf-8") if changes.is_file() else ""
    if text.count(OPEN) != 1:
        raise PatchError(f"{changes} has {text.count(OPEN)} parts {OPEN.strip()!r}: one has to say what changed.")
    lines = {version: (repo, read_pin(repo.patches / "upstream.toml")) for version, repo in find_lines(root).items()}
    number = 1 + max(pin.distill for _, pin in lines.values())
    contents: dict[str, bytes | None] = {}
    for repo, pin in lines.values():
        old, new = (f'\n+__version__ += "+distill.{n}"\n'.encode() for n in (pin.distill, number))
        texts = {name: (repo.patches / name).read_bytes() for name in read_names(repo)}
        setting = [name for name, data in texts.items() if old in data]
        if len(setting) != 1:
            raise PatchError(f"{repo.folder} has {len(setting)} patches that add {old.decode().strip()}: run `check`.")
        contents[f"{repo.folder}/{setting[0]}"] = texts[setting[0]].replace(old, new)
        contents[f"{repo.folder}/upstream.toml"] = pin_text(replace(pin, distill=number)).encode()
    local = replace(next(iter(lines.values()))[1], distill=number).local_version
    contents["CHANGELOG.md"] = text.replace(OPEN, f"## {local}\n").encode()
    swap(root, contents)
    log(f"* version {local} in {', '.join(repo.folder for repo, _ in lines.values())} and CHANGELOG.md")
    if build:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."]
        if subprocess.run(command, cwd=root).returncode:
            raise PatchError(f"the wheel of {local} was not built: mend that, then run `{' '.join(command[1:])}`.")
        log("* built the wheel into dist/")
