# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Takes a patch out of the series, and moves the later ones' hunks to where they stand without it."""

from __future__ import annotations

from typing import Callable

from . import PatchError, Repo
from .owners import History
from .pin import read_pin
from .place import add_diffs
from .refresh import make_files
from .series import read_series, touched
from .swap import swap
from .wheel import upstream


def drop(repo: Repo, name: str, log: Callable[[str], None] = print) -> None:
    """Drop a patch; the tree is left for the next `apply`, which takes the patch's lines out of it.

    Args:
        repo (Repo): The patch repository.
        name (str): The patch.
        log (Callable[[str], None]): Takes one line.

    Raises:
        PatchError: If there is no such patch, or a later one would have nothing left to do; nothing is written then.
    """
    pin, patches = read_pin(repo.patches / "upstream.toml"), read_series(repo)
    names = [patch.name for patch in patches]
    if name not in names:
        raise PatchError(f"{name} is not in the series: it has {', '.join(names)}.")
    owner, pristine = names.index(name), upstream(repo, pin)
    diffs: list[dict[str, bytes]] = [{} for _ in names]
    for path in touched(patches):
        steps = History(path, pristine[path], [patch.diff_of(path) for patch in patches]).without(owner)
        add_diffs(diffs, path, steps)
    for parts in (patches, names, diffs):
        del parts[owner]
    swap(repo.root, {**make_files(repo, patches, names, diffs, pin, pristine), f"{repo.folder}/{name}": None})
    log(f"* dropped {name}; `patchset.py apply` takes it out of the tree")
