# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Wheels that somebody or something spoiled: refused with a sentence and no trace, or read whole."""

from __future__ import annotations

import io
import stat
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoiled import EVIL, FUZZ, in_a_copy, spoil

from patching import PACKAGE, PatchError, Repo
from toy import UPSTREAM, WHEEL, Toy


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
