# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The three-way merge: what it places, two other programs place the same; what it does not, it tells."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from merge3 import Merge3

from patching.diff import parse_diffs, split_lines
from patching.ends import restyle, to_lf
from patching.merge import Conflict, merge
from patching.place import compare, format_diff, splice

BASE = [b"line %d\n" % i for i in range(1, 31)]
# A few equal lines among the distinct ones, as code has them.
LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"\n"]), max_size=14)


def merged(base: list[bytes], ours: list[bytes], theirs: list[bytes]):
    """Merge the change from base to ours into theirs."""
    diffs = parse_diffs(split_lines(format_diff("ultralytics/x.py", base, ours)), "x.patch", 1)
    return merge(diffs[0], base, theirs)


def change(lines: list[bytes], at: int, *new: bytes, gone: int = 0) -> list[bytes]:
    """Return the lines with some taken away and some put in."""
    return [*lines[:at], *new, *lines[at + gone :]]


def test_moves_with_what_stands_above():
    """Three lines more above, one less: each change goes along, and says by how much."""
    ours = change(change(BASE, 20, b"second\n", gone=1), 10, b"first\n")
    theirs = change(change(BASE, 15, gone=1), 2, b"x\n", b"y\n", b"z\n")
    found = merged(BASE, ours, theirs)
    assert found.offsets == [3, 2] and found.conflicts == []
    assert splice(theirs, found.edits) == change(
        change(change(change(BASE, 20, b"second\n", gone=1), 15, gone=1), 10, b"first\n"), 2, b"x\n", b"y\n", b"z\n"
    )


def test_same_change_on_both_sides_is_there_already():
    """What upstream took over is neither put in twice nor a conflict."""
    ours = change(BASE, 10, b"first\n")
    found = merged(BASE, ours, change(ours, 2, b"x\n"))
    assert (found.edits, found.conflicts) == ([], [])


@pytest.mark.parametrize(
    ("theirs", "line", "pinned", "found", "wanted"),
    [
        (change(BASE, 10, b"other\n", gone=1), 11, [10], [b"other\n"], [b"mine\n"]),  # the line itself
        (change(BASE, 10, gone=1), 11, [10], [], [b"mine\n"]),  # taken away
        (change(BASE, 9, b"x\n", gone=1), 10, [9, 10], [b"x\n", BASE[10]], [BASE[9], b"mine\n"]),  # touching, above
        (change(BASE, 11, b"x\n"), 11, [10], [BASE[10], b"x\n"], [b"mine\n"]),  # touching, below
    ],
)
def test_conflict_names_line_and_all_sides(theirs, line, pinned, found, wanted):
    """A change in or next to a changed line is for a person to judge, who sees what each side has."""
    result = merged(BASE, change(BASE, 10, b"mine\n", gone=1), theirs)
    assert result.edits == []
    expected = Conflict("ultralytics/x.py", line, tuple(BASE[i] for i in pinned), tuple(found), tuple(wanted))
    assert result.conflicts == [expected]
    text = expected.describe("add-mine", "upstream 2.0.0")
    assert text[0] == f"ultralytics/x.py:{line}: add-mine does not fit"
    assert [x for x in text if not x.startswith("    ")][1:] == ["  pinned:", "  upstream 2.0.0:", "  the patch wants:"]


@settings(max_examples=150, deadline=None)
@given(base=LINES, ours=LINES, theirs=LINES)
def test_merge3_gives_the_same(base, ours, theirs):
    """A library that nobody here wrote conflicts on the same triples, and merges the others to the same lines."""
    if base == ours:
        return
    # merge3 finds blocks with difflib as well: with its own blocks it would only differ in what it takes for moved
    other = Merge3(base, ours, theirs, sequence_matcher=lambda _, a, b: Blocks(a, b))
    groups = list(other.merge_groups())
    found = merged(base, ours, theirs)
    if found.conflicts:
        assert any(group[0] == "conflict" for group in groups)
    else:
        assert [line for group in groups for line in group[1]] == splice(theirs, found.edits)


class Blocks:
    """The matching blocks of `compare`, in the form that merge3 asks for."""

    def __init__(self, old: list[bytes], new: list[bytes]):
        """Find the blocks."""
        self.blocks, at, shift = [], 0, 0
        for x in compare(old, new):
            self.blocks.append((at, at + shift, x.start - at))
            at, shift = x.stop, shift + len(x.lines) - (x.stop - x.start)
        self.blocks += [(at, at + shift, len(old) - at), (len(old), len(new), 0)]

    def get_matching_blocks(self) -> list[tuple[int, int, int]]:
        """Return them."""
        return [block for block in self.blocks[:-1] if block[2]] + self.blocks[-1:]


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("seed", range(12))
def test_git_gives_the_same(tmp_path, seed):
    """What we place, `git merge-file` places in the same lines; what it merges, we place."""
    pick = random.Random(seed)
    ours, theirs = list(BASE), list(BASE)
    for side, mark in ((ours, b"ours"), (theirs, b"theirs")):
        for _ in range(3):
            side[pick.randrange(len(side))] = mark + b" %d\n" % pick.randrange(100)
        side.insert(pick.randrange(len(side)), mark + b" more\n")
    for name, lines in (("ours", ours), ("base", BASE), ("theirs", theirs)):
        (tmp_path / name).write_bytes(b"".join(lines))
    command = ["git", "merge-file", "-p", "theirs", "base", "ours"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    found = merged(BASE, ours, theirs)
    if found.conflicts:
        assert done.returncode > 0
    else:
        assert (done.returncode, done.stdout) == (0, b"".join(splice(theirs, found.edits)))


@pytest.mark.parametrize("like", [b"a\r\nb\r\nc\r\n", b"a\r\nb\nc\r\n", b"a\nb\nc\r\n", b"a\nb\nc", b"a\r\nb\r\nc"])
def test_line_ends_stay(like):
    """Kept lines keep their bytes, new ones get the commoner end, and the text is otherwise the one given."""
    assert restyle(to_lf(like), like) == like
    changed = restyle(b"new\n" + to_lf(like), like)
    assert changed.endswith(like) and to_lf(changed) == b"new\n" + to_lf(like)
    assert changed.startswith(b"new\r\n" if like.count(b"\r\n") > 1 else b"new\n")
