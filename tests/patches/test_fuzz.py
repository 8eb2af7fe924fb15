# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Patches that somebody or something spoiled: refused with a sentence and no trace, or whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoiled import EDITS, EVIL, FUZZ, WAYS, in_a_copy, spoil

from patching import PACKAGE, PatchError, Repo
from patching import target as users
from patching.series import read_names
from patching.status import target_status
from toy import ENGINE, UPSTREAM, Toy, quiet, snapshot

spoiling = given(
    name=st.sampled_from(["name-fork.patch", "add-call.patch", "series", "upstream.toml"]),
    way=st.sampled_from(WAYS),
    at=st.floats(0, 1),
    edit=st.one_of(st.sampled_from(EDITS), st.binary(min_size=1, max_size=4)),
)


@FUZZ
@spoiling
def test_spoiled_patch_repository(sound, name, way, at, edit):
    """Truncated, with lines gone, doubled or swapped, with CRLF, with junk, far too large: a sentence, no half tree."""

    def act(repo):
        path = repo / "patches" / name
        path.write_bytes(spoil(path.read_bytes(), way, at, edit))

    in_a_copy(sound, act)


@pytest.mark.parametrize("path", EVIL)
def test_patch_of_an_evil_path(sound, path):
    """A patch, its `Touches:` lines and the pin agree on a path that is not to be written."""

    def act(repo):
        for name in ("name-fork.patch", "add-call.patch", "upstream.toml"):
            file = repo / "patches" / name
            file.write_bytes(file.read_bytes().replace(ENGINE.encode(), path.encode()))

    in_a_copy(sound, act)


def with_a_users_tree(sound: Path, act) -> None:
    """Copy the repository beside a user's checkout with edits, and let the act happen there; the rest stays."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(sound, root, symlinks=True)
        theirs = Toy.checkout(root / "theirs", {**UPSTREAM, ENGINE: b"mine = 1\n" + UPSTREAM[ENGINE]})
        (theirs / PACKAGE / "link").symlink_to(root / "outside")
        outside = snapshot(root / "outside")
        act(Repo(root / "repo"), theirs)
        assert snapshot(root / "outside") == outside
        assert {p.name for p in root.iterdir()} == {"repo", "outside", "theirs"}


def attempt(act, *args) -> bool:
    """Do something to a user's tree; return whether it was done, else the tree is as it was."""
    theirs = args[1]
    before = snapshot(theirs)
    try:
        act(*args, quiet)
    except PatchError as error:
        assert str(error) and "\n" not in str(error)
        assert snapshot(theirs) == before
        return False
    return True


@FUZZ
@spoiling
def test_spoiled_patches_on_a_users_tree(sound, name, way, at, edit):
    """What goes in, goes in whole and comes out again, byte for byte."""

    def act(repo, theirs):
        path = repo.patches / name
        path.write_bytes(spoil(path.read_bytes(), way, at, edit))
        before = {p: v[0] for p, v in snapshot(theirs).items()}
        if attempt(users.apply, repo, theirs):
            assert target_status(repo, theirs)[0] == "applied" or not read_names(repo)
            assert attempt(users.revert, repo, theirs)
            assert {p: v[0] for p, v in snapshot(theirs).items()} == before

    with_a_users_tree(sound, act)


@FUZZ
@given(
    which=st.sampled_from([".patchset.json", ".patchset/before/engine/run.py", ".patchset/after/__init__.py"]),
    way=st.sampled_from([*WAYS, "link", "gone", "folder", "evil name"]),
    at=st.floats(0, 1),
    edit=st.sampled_from([*EDITS, *(f'"{p}": "{"0" * 64}",'.encode() for p in EVIL)]),
    then=st.sampled_from([users.apply, users.revert]),
)
def test_spoiled_store_of_a_users_tree(sound, which, way, at, edit, then):
    """What the tool kept in a tree is not trusted either: nothing outside is read, written or removed by its word."""

    def act(repo, theirs):
        users.apply(repo, theirs, quiet)
        path = theirs / PACKAGE / which
        data = path.read_bytes()
        path.unlink()
        if way == "link":
            path.symlink_to(theirs.parent / "outside/evil.py")
        elif way == "folder":
            path.mkdir()
        elif way == "evil name":
            path.write_bytes(data.replace(b"{", b"{" + edit, 1))
        elif way != "gone":
            path.write_bytes(spoil(data, way, at, edit))
        attempt(then, repo, theirs)

    with_a_users_tree(sound, act)
