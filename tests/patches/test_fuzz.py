# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Patches and wheels that somebody or something spoiled: refused with a sentence and no trace, or whole."""

from __future__ import annotations

import io
import shutil
import stat
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patching import PACKAGE, PatchError, Repo, tree
from patching import target as users
from patching.check import check
from patching.pin import read_pin
from patching.refresh import Pick
from patching.series import read_names
from patching.status import status, target_status
from patching.wheel import upstream
from toy import ENGINE, FACE, OVERLAY, UPSTREAM, WHEEL, Toy, quiet, snapshot

FUZZ = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
EVIL = (
    "../evil.py",
    "/tmp/evil.py",
    f"{PACKAGE}/../../evil.py",
    f"{PACKAGE}/../evil.py",
    f"{PACKAGE}/./{FACE}",
    f"{PACKAGE}//evil.py",
    f"{PACKAGE}\\..\\evil.py",
    "C:/evil.py",
    "C:evil.py",
    "//server/evil.py",
    "~/evil.py",
    "",
    PACKAGE,
    f"{PACKAGE}/",
    f"{PACKAGE}/link/evil.py",
    f"{PACKAGE}/distill/__init__.py",
    f"{PACKAGE}/Distill/__init__.py",
    f"{PACKAGE}/evil\0.py",
    f"{PACKAGE}/" + "long/" * 2000 + "evil.py",
    "ultralytics-1.0.0.dist-info/../evil",
    "setup.py",
)
EDITS = (
    b"\r",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"@@ -1 +1 @@\n",
    b"--- a/x\n+++ b/x\n",
    b"\\ No newline at end of file\n",
    b"9" * 30,
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """A toy repository with two patches, its tree pristine, and a folder outside that a link in the tree points to."""
    root = tmp_path_factory.mktemp("sound")
    toy = Toy(root / "repo")
    tree.unpack(toy.repo, toy.repo.root, quiet)
    toy.edit(FACE, '"1.0.0"', '"1.0.0+distill.3"')
    toy.edit(ENGINE, "line_10 = 10\n", "line_10 = 10\nfirst = 1\n")
    toy.refresh("name-fork.patch")
    toy.edit(ENGINE, "line_14 = 14\n", "second = 2\n")
    toy.edit(ENGINE, "line_40 = 40\n", "line_40 = 40\nthird = 3\n")
    toy.refresh("add-call.patch", Pick(ENGINE))
    toy.apply()
    toy.revert()
    (root / "outside").mkdir()
    (root / "outside/evil.py").write_text("not ours\n")
    (root / f"repo/{PACKAGE}/link").symlink_to(root / "outside")
    return root


def spoil(data: bytes, way: str, at: float, edit: bytes) -> bytes:
    """Damage some bytes in one of many ways, at a share of their length."""
    place = int(at * len(data))
    lines = data.splitlines(keepends=True)
    line = min(int(at * len(lines)), len(lines) - 1)
    return {
        "cut": data[:place],
        "insert": data[:place] + edit + data[place:],
        "overwrite": data[:place] + edit + data[place + len(edit) :],
        "drop a line": b"".join(lines[:line] + lines[line + 1 :]),
        "repeat a line": b"".join(lines[: line + 1] + lines[line:]),
        "swap two lines": b"".join(
            lines[:line] + lines[line + 1 : line + 2] + lines[line : line + 1] + lines[line + 2 :]
        ),
        "carriage returns": data.replace(b"\n", b"\r\n"),
        "huge": data[:place] + b"+huge\n" * 20_000 + data[place:],
        "twice": data + data,
    }[way]


WAYS = (
    "cut",
    "insert",
    "overwrite",
    "drop a line",
    "repeat a line",
    "swap two lines",
    "carriage returns",
    "huge",
    "twice",
)


def whole_or_untouched(root: Path):
    """Apply in a copied repository; the tree is then as it was, or wholly patched and can be taken back."""
    repo = Repo(root / "repo")
    before, outside = snapshot(repo.root), snapshot(root / "outside")
    try:
        tree.apply(repo, repo.root, quiet)
    except PatchError as error:
        assert str(error) and "\n" not in str(error)
        assert snapshot(repo.root) == before
    else:
        assert status(repo, repo.root)[0] == ("applied" if read_names(repo) else "clean")
        changed = {p for p, v in snapshot(repo.root).items() if before.get(p) != v}
        assert all(p.startswith(f"{PACKAGE}/") for p in changed)
        tree.revert(repo, repo.root, quiet)
        pristine = upstream(repo, read_pin(repo.patches / "upstream.toml"))
        assert all((repo.root / p).read_bytes() == data for p, data in pristine.items())
    assert snapshot(root / "outside") == outside
    assert {p.name for p in root.iterdir()} == {"repo", "outside"}
    assert all((repo.root / p).read_bytes() == data for p, data in OVERLAY.items())
    check(repo)  # says what is wrong, or nothing; never a traceback


def in_a_copy(sound: Path, act) -> None:
    """Copy the repository, spoil it, apply."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "copy"
        shutil.copytree(sound, root, symlinks=True)
        link = root / f"repo/{PACKAGE}/link"
        link.unlink()
        link.symlink_to(root / "outside")
        act(root / "repo")
        whole_or_untouched(root)


@FUZZ
@given(
    name=st.sampled_from(["name-fork.patch", "add-call.patch", "series", "upstream.toml"]),
    way=st.sampled_from(WAYS),
    at=st.floats(0, 1),
    edit=st.one_of(st.sampled_from(EDITS), st.binary(min_size=1, max_size=4)),
)
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


def write_wheel(path: Path, entries: list[tuple[str, bytes, int]], compression: int = zipfile.ZIP_DEFLATED):
    """Write a wheel of (name, content, mode) entries, names as they are."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, data, mode in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr, info.compress_type = name, mode << 16, compression
            archive.writestr(info, data)


def pin(repo: Path):
    """Pin whatever lies in the cache, so that the hash does not save us."""
    toy = Toy.__new__(Toy)
    toy.repo, toy.wheel = Repo(repo), Repo(repo).cache / WHEEL
    toy.pin_wheel()


MODES = st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFDIR | 0o755, 0])
NAMES = st.one_of(st.sampled_from([*EVIL[:-3], *UPSTREAM]), st.text("a./\\:~\0🚀", min_size=1, max_size=8))


@FUZZ
@given(
    extra=st.lists(st.tuples(NAMES, st.binary(max_size=9), MODES), max_size=3), drop=st.sampled_from([None, *UPSTREAM])
)
def test_wheel_of_any_names(sound, extra, drop):
    """Absolute names, `..`, links, doubles, folders in a file's place: nothing but plain files inside the package."""
    plain = [(n, d, stat.S_IFREG | 0o644) for n, d in UPSTREAM.items() if n != drop]

    def act(repo):
        write_wheel(repo / ".upstream" / WHEEL, plain + extra)
        pin(repo)

    in_a_copy(sound, act)


@FUZZ
@given(
    way=st.sampled_from(["cut", "insert", "overwrite"]),
    at=st.floats(0, 1),
    edit=st.binary(min_size=1, max_size=8),
    pinned=st.booleans(),
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
)
def test_spoiled_wheel(sound, way, at, edit, pinned, compression):
    """A wheel with bytes gone, added or changed is not the pinned one; even pinned, it is read whole or refused."""

    def act(repo):
        path = repo / ".upstream" / WHEEL
        write_wheel(path, [(n, d, 0o100644) for n, d in UPSTREAM.items()], compression)
        pin(repo)
        path.write_bytes(spoil(path.read_bytes(), way, at, edit))
        if pinned:
            pin(repo)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patching.wheel._download", _no_network)
        in_a_copy(sound, act)


def _no_network(*_):
    """Stand in for pip without a network."""
    raise PatchError("the wheel cannot be downloaded (no network): try again.")


def test_a_bomb_is_not_unpacked(sound):
    """A wheel whose sizes lie, small in the directory and endless inside, stops at what it promised."""

    def act(repo):
        path = repo / ".upstream" / WHEEL
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in UPSTREAM.items():
                archive.writestr(name, data)
            archive.writestr(f"{PACKAGE}/bomb.bin", b"\0" * 50_000_000)
        size = (50_000_000).to_bytes(4, "little")
        path.write_bytes(buffer.getvalue().replace(size, (10).to_bytes(4, "little")))
        pin(repo)

    in_a_copy(sound, act)


# Users' own trees -----------------------------------------------------------------------------------------------------


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
@given(
    name=st.sampled_from(["name-fork.patch", "add-call.patch", "series", "upstream.toml"]),
    way=st.sampled_from(WAYS),
    at=st.floats(0, 1),
    edit=st.one_of(st.sampled_from(EDITS), st.binary(min_size=1, max_size=4)),
)
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
