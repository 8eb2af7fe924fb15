# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The static check: the series held against the patch rules, without upstream's files."""

from __future__ import annotations

from . import PACKAGE, PatchError, Repo
from .pin import Pin, read_pin
from .series import FIELDS, NAME, SERIES, TODO, TOUCHES, Patch, parse_patch, read_names, touched

BUDGET = 120  # changed lines over the whole series; keeps behaviour in our own package and ports cheap


def check(repo: Repo) -> tuple[list[str], str]:
    """Hold a series against the rules.

    Args:
        repo (Repo): The patch repository.

    Returns:
        failures (list[str]): One sentence each, empty when all is well.
        summary (str): Patches, files and changed lines.
    """
    try:
        pin, names = read_pin(repo.patches / "upstream.toml"), read_names(repo)
    except PatchError as error:
        return [str(error)], ""
    failures = _check_names(repo, names)
    patches = []
    present = {path.name for path in repo.patches.iterdir()}  # the system is never asked for a name as given
    for name in names:
        path = repo.patches / name
        if name in present and path.is_file() and not path.is_symlink():
            try:
                patches.append(parse_patch(path.read_bytes(), name))
                failures += _check_header(patches[-1], pin)
            except PatchError as error:
                failures.append(f"{error}")
    if len(patches) == len(names):  # what follows would only repeat that a patch is missing
        failures += _check_whole(patches, pin)
    changed = sum(patch.changed for patch in patches)
    files = len(touched(patches))
    return failures, f"{len(patches)} patches, {files} files, {changed} changed lines (at most {BUDGET})"


def _check_names(repo: Repo, names: list[str]) -> list[str]:
    """Check that the series and the folder agree, and that names say what a patch does."""
    failures = []
    present = {path.name for path in repo.patches.iterdir() if not path.is_dir()} - {SERIES, "upstream.toml"}
    for line, name in enumerate(names, 1):
        if name in names[: line - 1]:
            failures.append(f"{SERIES}:{line} lists {name} a second time.")
        if name not in present or (repo.patches / name).is_symlink():
            failures.append(f"{SERIES}:{line} lists {name}: there is no such file in {repo.folder}/.")
        if not NAME.fullmatch(name):
            failures.append(f"{SERIES}:{line} lists {name}: a name is verb-object.patch, lower case, without numbers.")
    return failures + [f"{repo.folder}/{name} is not listed in {SERIES}." for name in sorted(present - set(names))]


def _check_header(patch: Patch, pin: Pin) -> list[str]:
    """Check that a patch says why it exists, how it goes away, and what it touches."""
    failures = []
    found = [field for field in patch.fields if field.name != "Touches"]
    for name, meaning in FIELDS.items():
        values = [field for field in found if field.name == name]
        if len(values) != 1:
            failures.append(f"{patch.name}:1 has {len(values)} fields {name}: one is needed ({meaning}).")
        elif not values[0].value or TODO in values[0].value:
            failures.append(f"{patch.name}:{values[0].line} leaves {name} open: say {meaning}.")
    known = ", ".join(FIELDS)
    for field in found:
        if field.name not in FIELDS:
            failures.append(f"{patch.name}:{field.line} has field {field.name}: known are {known}, Touches.")
    return failures + _check_touches(patch, pin)


def _check_touches(patch: Patch, pin: Pin) -> list[str]:
    """Check the `Touches:` lines against the diffs and the pin."""
    failures, listed = [], []
    for field in patch.fields:
        if field.name != "Touches":
            continue
        match = TOUCHES.fullmatch(field.value)
        if not match:
            failures.append(f"{patch.name}:{field.line} has Touches {field.value!r}: expected PATH sha256=DIGEST.")
        else:
            listed.append(match[1])
            if pin.files.get(match[1]) != match[2]:
                failures.append(f"{patch.name}:{field.line} gives another hash for {match[1]} than upstream.toml.")
    changed = [diff.path for diff in patch.diffs]
    if not failures and listed != changed:
        failures.append(f"{patch.name}:1 says Touches {listed}, but changes {changed}: run `patchset.py refresh`.")
    return failures


def _check_whole(patches: list[Patch], pin: Pin) -> list[str]:
    """Check what only the whole series shows: the files of the pin, the budget, the version."""
    failures = []
    files = set(touched(patches))
    for path in sorted(files ^ set(pin.files)):
        what = "is not listed" if path in files else "is listed, but no patch touches it"
        failures.append(f"upstream.toml: {path} {what}: run `patchset.py refresh`.")
    changed = sum(patch.changed for patch in patches)
    if changed > BUDGET:
        failures.append(f"{SERIES} changes {changed} lines, at most {BUDGET} may be: move code to our own package.")
    wanted = f'__version__ += "+distill.{pin.distill}"'
    added = {
        text
        for patch in patches
        for diff in patch.diffs
        for hunk in diff.hunks
        for kind, text in hunk.lines
        if kind == "+" and diff.path == f"{PACKAGE}/__init__.py"
    }
    if f"{wanted}\n".encode() not in added:
        failures.append(
            f"{SERIES} does not make {PACKAGE}.__version__ {pin.local_version}, as upstream.toml has it: add {wanted}."
        )
    return failures
