# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Refreshing: the exact inverse of applying, and every edit to the patch that it belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patching import PatchError
from patching.check import check
from patching.diff import parse_diffs, split_lines
from patching.drop import drop
from patching.owners import History
from patching.place import changes, format_diff, splice
from patching.refresh import Pick, parse_pick
from toy import BINARY, ENGINE, FACE, TEXT, UPSTREAM, quiet


def test_apply_then_refresh_is_the_identity(toy, shot):
    """Without an edit not a byte and not a file's time changes."""
    before = shot(toy.repo.root)
    toy.refresh()
    assert shot(toy.repo.root) == before


def test_patches_are_made_anew_not_kept(toy):
    """The identity is no accident of skipping: a patch with less context is written with three lines again."""
    before = toy.patches()
    text = toy.get("patches/name-fork.patch").replace(b"@@ -8,6 +8,7 @@\n line_08 = 8\n", b"@@ -9,5 +9,6 @@\n")
    toy.put("patches/name-fork.patch", text)
    assert toy.patches() != before
    toy.refresh()
    assert toy.patches() == before


@pytest.mark.parametrize(
    ("old", "new", "owner"),
    [
        ("first = 1\n", "first = 11\n", "name-fork"),  # changes the patch's own line
        ("first = 1\n", "first = 1\nmore = 1\n", "name-fork"),  # stands next to it
        (
            "line_11 = 11\n",
            "line_11 = 111\n",
            "name-fork",
        ),  # within its context, next to the other patch's too, but nearer
        ("second = 2\n", "line_14 = 14\nsecond = 2\n", "add-call"),  # brings back a line that it removes
        ("third = 3\n", "third = 3\nmore = 1\n", "add-call"),
        ("line_42 = 42\n", "", "add-call"),  # removes a line in its context
    ],
)
def test_edit_goes_to_its_patch(toy, old, new, owner):
    """Only the owning patch changes, and the series gives the tree again."""
    before = toy.patches()
    toy.edit(ENGINE, old, new)
    edited = toy.get(ENGINE)
    toy.refresh()
    after = toy.patches()
    changed = {name for name in after if after[name].partition(b"\n\n")[2] != before[name].partition(b"\n\n")[2]}
    assert f"{owner}.patch" in changed
    if owner == "add-call":
        assert changed == {"add-call.patch"}
    toy.revert()
    toy.apply()
    assert toy.get(ENGINE) == edited
    assert check(toy.repo)[0] == []


def test_edit_of_an_early_patch_keeps_later_ones_in_step(toy):
    """Three lines more in the first patch move the second one's hunks, and nothing else of it."""
    before = toy.get("patches/add-call.patch")
    toy.edit(ENGINE, "first = 1\n", "first = 1\n" + "more = 1\n" * 3)
    toy.refresh()
    after = toy.get("patches/add-call.patch")
    assert b"@@ -42,6 +42,7 @@" in after
    assert [line for line in after.splitlines() if line[:1] in b"+-"] == [
        line for line in before.splitlines() if line[:1] in b"+-"
    ]


def test_several_edits_at_once(toy):
    """Edits of both patches in one go, each to its own."""
    toy.edit(ENGINE, "first = 1", "first = 11")
    toy.edit(ENGINE, "third = 3", "third = 33")
    toy.refresh()
    assert b"+first = 11\n" in toy.get("patches/name-fork.patch")
    assert b"+third = 33\n" in toy.get("patches/add-call.patch")
    assert b"third" not in toy.get("patches/name-fork.patch")


def test_edit_far_from_every_patch_needs_a_name(toy, shot):
    """Nobody guesses: the edit's place and the remedy are named, and nothing is written."""
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=rf"{ENGINE}:57: no single patch is near; name one with --patch"):
        toy.refresh()
    assert shot(toy.repo.root) == before


def test_edit_between_two_patches_names_both(toy):
    """As near to one patch as to the other: ambiguous, and --patch settles it."""
    toy.edit(ENGINE, "line_12 = 12\n", "between = 1\n")
    with pytest.raises(PatchError, match="name-fork.patch or add-call.patch"):
        toy.refresh()
    toy.refresh("add-call.patch")
    assert b"+between = 1\n" in toy.get("patches/add-call.patch")
    assert b"between" not in toy.get("patches/name-fork.patch")


def test_edit_of_two_patches_lines_is_ambiguous(toy):
    """An edit that takes lines of both patches away belongs to neither alone."""
    toy.edit(
        ENGINE,
        "first = 1\nline_11 = 11\nline_12 = 12\nline_13 = 13\nsecond = 2\n",
        "x = 1\n",
    )
    with pytest.raises(PatchError, match="name-fork.patch or add-call.patch"):
        toy.refresh()


def test_named_existing_patch_takes_the_far_edit(toy):
    """An existing patch grows by it."""
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    toy.refresh("name-fork.patch", fill=False)
    assert b"+line_55 = 5\n" in toy.get("patches/name-fork.patch")
    assert check(toy.repo)[0] == []


def test_new_patch_takes_all_unowned_edits(toy):
    """A new patch ends the series, owned edits stay with their owners, and the pin lists the new file."""
    toy.edit(ENGINE, "first = 1", "first = 11")
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    toy.edit(TEXT, "🚀", "🚀🚀")
    toy.refresh("change-lines.patch")
    assert toy.get("patches/series").split() == [b"name-fork.patch", b"add-call.patch", b"change-lines.patch"]
    assert b"+first = 11" in toy.get("patches/name-fork.patch")
    assert b"+line_55 = 5\n" in toy.get("patches/change-lines.patch")
    assert "+sonde 🚀🚀\n" in toy.get("patches/change-lines.patch").decode()
    assert check(toy.repo)[0] == []
    toy.revert()
    assert {path: toy.get(path) for path in UPSTREAM} == UPSTREAM


def test_picked_lines_make_a_patch_and_the_rest_waits(toy):
    """A tree full of edits is cut into patches by place, even where lines stand together."""
    toy.edit(ENGINE, "line_55 = 55\n", "line_55 = 55\none = 1\ntwo = 2\nthree = 3\n")
    toy.edit(FACE, '"""A toy."""', '"""My toy."""')
    whole = toy.get(ENGINE)
    toy.refresh("add-middle.patch", Pick(ENGINE, 59, 59))
    assert b"+two = 2\n" in toy.get("patches/add-middle.patch")
    assert b"one" not in toy.get("patches/add-middle.patch").partition(b"\n\n")[2].replace(b"line_", b"")
    toy.refresh("add-rest.patch", parse_pick(f"{ENGINE}:58-60"))
    assert toy.get("patches/add-rest.patch").count(b"\n+") == 3  # the +++ line, one and three
    toy.refresh("say-mine.patch", parse_pick(FACE))
    toy.revert()
    toy.apply()
    assert toy.get(ENGINE) == whole


def test_pick_overrides_the_neighbour(toy):
    """A picked edit goes where it is told to, even from the middle of another patch's lines."""
    toy.edit(ENGINE, "first = 1\n", "first = 1\nmore = 1\n")
    toy.refresh("add-more.patch", Pick(ENGINE))
    assert b"more" not in toy.get("patches/name-fork.patch")
    assert b"+more = 1\n" in toy.get("patches/add-more.patch")


@pytest.mark.parametrize("pick", [f"{ENGINE}:1-5", FACE])
def test_pick_without_an_edit(toy, pick):
    """A range that holds no edit is a slip of the fingers."""
    with pytest.raises(PatchError, match="picks no edit"):
        toy.refresh("add-more.patch", parse_pick(pick))


@pytest.mark.parametrize("text", ["", "a:b:c", "../x", f"{ENGINE}:x", "ultralytics/distill/x.py"])
def test_malformed_pick(text):
    """A pick is a path inside upstream's package, with lines or without."""
    with pytest.raises(PatchError):
        parse_pick(text)


def test_empty_patch_is_refused(toy, shot):
    """Undoing all of a patch in the tree does not silently make an empty one."""
    toy.edit(ENGINE, "second = 2\n", "line_14 = 14\n")
    toy.edit(ENGINE, "third = 3\n", "")
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match=r"add-call.patch would become empty"):
        toy.refresh()
    assert shot(toy.repo.root) == before


def test_file_left_by_a_patch_leaves_its_header_too(toy):
    """A patch that no longer changes a file does not say that it touches it."""
    toy.edit(ENGINE, "first = 1\n", "")
    toy.refresh()
    assert ENGINE.encode() not in toy.get("patches/name-fork.patch")
    assert check(toy.repo)[0] == []


@pytest.mark.parametrize(("path", "old", "new"), [(BINARY, "\1", "\3"), (ENGINE, "line_55 = 55\n", "line_55 = 5\r\n")])
def test_only_text_with_lf(toy, path, old, new):
    """Binary files and carriage returns do not get into patches."""
    toy.edit(path, old, new)
    with pytest.raises(PatchError, match="NUL bytes or carriage returns"):
        toy.refresh("change-it.patch")


def test_missing_upstream_file(toy):
    """A patch never deletes a file."""
    (toy.repo.root / TEXT).unlink()
    with pytest.raises(PatchError, match=r"odd.txt is not in the tree: run `apply`"):
        toy.refresh()


@pytest.mark.parametrize("old", ["last line without an end", "sonde 🚀\n"])
def test_no_newline_at_the_end(toy, old):
    """A file without a last line end goes through patch and back."""
    toy.edit(TEXT, old, "changed")
    edited = toy.get(TEXT)
    toy.refresh("change-end.patch")
    before = toy.patches()
    toy.revert()
    assert toy.get(TEXT) == UPSTREAM[TEXT]
    toy.apply()
    toy.refresh()
    assert (toy.get(TEXT), toy.patches()) == (edited, before)


def test_recorded_edit_is_no_dirt(toy):
    """After a refresh the edit counts as the tool's own, so that a patch taken out again resets the file."""
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    toy.refresh("change-line.patch")
    toy.put("patches/series", b"name-fork.patch\nadd-call.patch\n")
    (toy.repo.patches / "change-line.patch").unlink()
    toy.apply()
    assert b"line_55 = 55\n" in toy.get(ENGINE)


def test_dropped_patch_leaves_the_later_ones_in_step(toy):
    """Dropping a patch from the middle moves the hunks after it; applying then takes its lines out of the tree."""
    toy.edit(ENGINE, "line_55 = 55", "line_55 = 5")
    toy.refresh("change-line.patch")
    drop(toy.repo, "add-call.patch", quiet)
    assert check(toy.repo)[0] == []
    toy.apply()
    ours = b"first = 1", b"line_55 = 5\n", b"line_14 = 14\n"
    assert all(line in toy.get(ENGINE) for line in ours)
    assert b"second" not in toy.get(ENGINE)
    assert b"third" not in toy.get(ENGINE)


def test_patch_that_cannot_be_dropped(toy, shot):
    """An unknown name, or one whose absence leaves a later patch without anything to do."""
    toy.edit(ENGINE, "third = 3\n", "")
    toy.refresh()
    toy.edit(ENGINE, "second = 2\n", "")
    toy.refresh("drop-second.patch", Pick(ENGINE))
    before = shot(toy.repo.root)
    with pytest.raises(PatchError, match="add-more.patch is not in the series: it has name-fork.patch, add-call.patch"):
        drop(toy.repo, "add-more.patch", quiet)
    with pytest.raises(PatchError, match="drop-second.patch would become empty"):
        drop(toy.repo, "add-call.patch", quiet)
    assert shot(toy.repo.root) == before


LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"\n"]), max_size=14)


@settings(deadline=None)  # a loaded machine is no failure
@given(LINES, LINES)
def test_any_diff_can_be_read_and_placed(old, new):
    """Whatever two versions of a file are, what is written is read and placed again."""
    data = format_diff(ENGINE, old, new)
    diffs = parse_diffs(split_lines(data), "x.patch", 1)
    assert [new] == [splice(old, changes(diff, old)) for diff in diffs] if data else old == new


@settings(deadline=None)
@given(st.lists(LINES, min_size=2, max_size=5), LINES, st.data())
def test_any_edit_can_be_carried_back(versions, tree, data):
    """The series made from edits and owners ends at the tree, earlier stages stay, and any patch can be undone."""
    diffs = []
    for old, new in zip(versions, versions[1:]):
        diff = format_diff(ENGINE, old, new)
        diffs.append(parse_diffs(split_lines(diff), "x.patch", 1)[0] if diff else None)
    history = History(ENGINE, b"".join(versions[0]), diffs)
    owners = st.integers(0, len(diffs))
    owned = [(data.draw(owners), edit) for edit in history.edits(b"".join(tree))]
    stages = history.carry(owned, len(diffs) + 1)
    assert stages[-1] == tree
    dropped = data.draw(st.integers(0, len(diffs) - 1))
    stages_without = history.without(dropped)
    assert stages_without[dropped] == stages_without[dropped + 1] == versions[dropped]
    first = min((owner for owner, _ in owned), default=len(diffs))
    assert stages[: first + 1] == [[line.text for line in stage] for stage in history.stages][: first + 1]
