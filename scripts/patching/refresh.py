# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Writes the series: diffs and hashes as the changes make them, of the pin or one that becomes it; and its releases."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Callable

from . import PACKAGE, PatchError, Repo
from .alive import try_out
from .anchor import ABSENT
from .plan import make_plan, report
from .series import read_names, read_pin, read_series
from .swap import read, sha256, swapped
from .tree import describe
from .wheel import obtain, obtain_release, read_wheel

OPEN = "## Unreleased\n"


def refresh(
    repo: Repo, to: str = "", write: bool = True, tried: bool = True, log: Callable[[str], None] = print
) -> None:
    """Make the patches' diffs anew, for the pin or for a release that becomes it, perhaps the `newest`.

    Another release has to train with the series in it first, if `tried`. Without `write` the result is only told.

    Raises:
        PatchError: If a patch does not fit; nothing is written then.
    """
    pin, patches = read_pin(repo), read_series(repo)
    version, wheel = obtain_release(repo, to) if to else (pin.version, obtain(repo, pin))
    files = read_wheel(wheel)[0]
    plan = make_plan(patches, files)
    for outcome in plan.outcomes:
        log(f"* {outcome.patch.title}: {outcome.word}")
        for line in report(outcome):
            log(f"  {line}")
    failed = [outcome.patch.title for outcome in plan.outcomes if outcome.conflicts]
    if failed:
        raise PatchError(f"{', '.join(failed)} not fitting {PACKAGE} {version}: nothing was written.")
    if to and tried:
        with tempfile.TemporaryDirectory(prefix="patchset-refresh-") as folder:
            with swapped(Path(folder), {**plan.files, **repo.overlay_files()}):
                try_out(Path(folder))
        log(f"* {PACKAGE} {version} trains with it")
    contents: dict[str, bytes | None] = {}
    for patch, (touches, diff) in zip(patches, describe(patches, files)):
        contents[f"patches/{patch.name}"] = patch.text(touches, diff).encode()
    if to:
        wheels = {v: h for v, h in {**pin.wheels, pin.version: pin.sha256}.items() if v != version}
        new = replace(pin, version=version, sha256=sha256(wheel.read_bytes()), wheels=wheels)
        contents["patches/upstream.toml"] = new.text().encode()
    contents = {path: data for path, data in contents.items() if read(repo.root, path) != data}
    idle = [o.patch.title for o in plan.outcomes if o.word == ABSENT]
    log(
        f"* not needed on {version}: {', '.join(idle)}"
        if idle
        else f"* all {len(patches)} patches are needed on {version}"
    )
    with swapped(repo.root, contents if write else {}):
        log(f"* {'wrote' if write else 'would write'} {', '.join(contents) or 'nothing'}")


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
