# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The static check: the series held against the patch rules, without upstream's files."""

from __future__ import annotations

import re

from . import PACKAGE, PatchError, Repo
from .series import FIELDS, SERIES, Patch, parse_patch, read_names, read_pin

BUDGET = 80  # changed lines over the whole series; keeps behaviour in our own package and ports cheap
NAME = re.compile(r"[a-z]+(-[a-z]+)+\.patch")
TODO = "TODO"


def check(repo: Repo) -> tuple[list[str], str]:
    """Return what breaks the rules, one sentence each, and a summary: patches, files and changed lines."""
    try:
        pin, names = read_pin(repo), read_names(repo)
    except PatchError as error:
        return [str(error)], ""
    failures = _check_names(repo, names)
    patches: list[Patch] = []
    for name in (
        x.name for x in sorted(repo.patches.iterdir()) if x.name in names and x.is_file() and not x.is_symlink()
    ):
        try:
            patches.append(parse_patch((repo.patches / name).read_bytes(), name))
            failures += _check_header(patches[-1])
        except PatchError as error:
            failures.append(str(error))
    changed = sum(patch.changed for patch in patches)
    if changed > BUDGET:
        failures.append(f"{SERIES} changes {changed} lines, at most {BUDGET} may be: move code to our own package.")
    hashes = {(path, digest) for patch in patches for path, digest in patch.touches}
    files = {path for path, _ in hashes}
    if len(hashes) > len(files):
        failures.append("two patches give different hashes of one file: run `patchset.py refresh`.")
    wanted = f'__version__ += "+distill.{pin.distill}"'
    lines = [line for patch in patches for change in patch.changes for place in change.places for line in place.code]
    if wanted not in lines:
        failures.append(f"{SERIES} does not end {PACKAGE}.__version__ in +distill.{pin.distill}: add {wanted}.")
    return failures, f"{len(patches)} patches, {len(files)} files, {changed} changed lines (at most {BUDGET})"


def _check_names(repo: Repo, names: list[str]) -> list[str]:
    """Check that the series and the folder agree, and that names say what a patch does."""
    failures = []
    present = {path.name for path in repo.patches.iterdir()} - {SERIES, "upstream.toml"}
    for line, name in enumerate(names, 1):
        if name in names[: line - 1]:
            failures.append(f"{SERIES}:{line} lists {name} a second time.")
        if name not in present or (repo.patches / name).is_symlink():
            failures.append(f"{SERIES}:{line} lists {name}: there is no such file in patches/.")
        if not NAME.fullmatch(name):
            failures.append(f"{SERIES}:{line} lists {name}: a name is verb-object.patch, lower case, without numbers.")
    return failures + [f"patches/{name} is not listed in {SERIES}." for name in sorted(present - set(names))]


def _check_header(patch: Patch) -> list[str]:
    """Check that a patch says why it exists, how it goes away, whether it is needed, and what it touches."""
    failures = []
    for name, meaning in FIELDS.items():
        values = [(value, line) for field, value, line in patch.fields if field == name]
        if len(values) != 1:
            failures.append(f"{patch.name}:1 has {len(values)} fields {name}: one is needed ({meaning}).")
        elif not values[0][0] or TODO in values[0][0]:
            failures.append(f"{patch.name}:{values[0][1]} leaves {name} open: say {meaning}.")
        elif name == "Needed" and values[0][0] != "required" and not patch.lost:
            failures.append(
                f"{patch.name}:{values[0][1]} has Needed {values[0][0]!r}: say required, or optional: LOST."
            )
    for field, value, line in patch.fields:
        if field not in (*FIELDS, "Touches"):
            failures.append(f"{patch.name}:{line} has field {field}: known are {', '.join(FIELDS)}, Touches.")
        if field == "Touches" and not re.fullmatch(r"\S+ sha256=[0-9a-f]{64}", value):
            failures.append(f"{patch.name}:{line} has Touches {value!r}: expected PATH sha256=DIGEST.")
    shown = re.findall(r"^--- a/(.*)\n\+\+\+ b/\1$", patch.diff, re.MULTILINE)
    if shown != [path for path, _ in patch.touches] or not set(shown) <= {change.path for change in patch.changes}:
        failures.append(f"{patch.name} touches other files than its changes or its diff: run `patchset.py refresh`.")
    return failures
