# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Makes a release: raises our number, closes the changelog's open part, and builds the wheel."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Callable

from . import PatchError, Repo
from .series import read_names, read_pin
from .swap import swapped

OPEN = "## Unreleased\n"


def release(repo: Repo, build: bool = True, log: Callable[[str], None] = print) -> None:
    """Make a release of a repository whose folder also holds `CHANGELOG.md`; `build` its wheel into `dist/`.

    Raises:
        PatchError: If the changelog has no open part, or the series does not set its version; nothing is written then.
    """
    changes, pin = repo.root / "CHANGELOG.md", read_pin(repo)
    text = changes.read_text(encoding="utf-8") if changes.is_file() else ""
    if text.count(OPEN) != 1:
        raise PatchError(f"{changes} has {text.count(OPEN)} parts {OPEN.strip()!r}: one has to say what changed.")
    old, new = (f'__version__ += "+distill.{n}"\n' for n in (pin.distill, pin.distill + 1))
    texts = {name: (repo.patches / name).read_text(encoding="utf-8") for name in read_names(repo)}
    setting = [name for name, said in texts.items() if old in said]
    if len(setting) != 1:
        raise PatchError(f"{repo.patches} has {len(setting)} patches that add {old.strip()}: run `check`.")
    local = f"{pin.version}+distill.{pin.distill + 1}"
    contents: dict[str, bytes | None] = {
        f"patches/{setting[0]}": texts[setting[0]].replace(old, new).encode(),
        "patches/upstream.toml": replace(pin, distill=pin.distill + 1).text().encode(),
        "CHANGELOG.md": text.replace(OPEN, f"## {local}\n").encode(),
    }
    with swapped(repo.root, contents):
        log(f"* version {local} in patches/ and CHANGELOG.md")
    if build:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", "."]
        if subprocess.run(command, cwd=repo.root).returncode:
            raise PatchError(f"the wheel of {local} was not built: mend that, then run `{' '.join(command[1:])}`.")
        log("* built the wheel into dist/")
