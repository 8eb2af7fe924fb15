# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Places: one line, found exactly once inside a function; indentation and line ends are those of the file."""

from __future__ import annotations

import pytest

from patching import PatchError
from patching.anchor import ABSENT, CONFLICT, IN, THERE, make, splice
from patching.plan import make_plan, printed, report
from patching.series import parse_patch
from toy import ENGINE, HEAD, RUN

WHERE = f"In {ENGINE}, Runner.train\n"


def change(body: str, where: str = WHERE):
    """Parse one change."""
    return parse_patch((HEAD.format(needed="required") + where + body).encode(), "add-call.patch").changes[0]


def made(body: str, text: str = RUN, where: str = WHERE) -> str:
    """Return a file's text with a change made."""
    result = make(ENGINE, text.encode(), change(body, where))
    assert result.word == IN, result
    return splice(text.encode(), result.edit).decode()


@pytest.mark.parametrize(
    ("body", "old", "new"),
    [
        ("First\n    a()\n", 'batch."""\n', 'batch."""\n        a()\n'),
        ("Before: self\\.step\n    a()\n", "        self.step(", "        a()\n        self.step("),
        ("After: self\\.step\n    a()\n", "        )\n", "        )\n        a()\n"),  # behind the whole statement
        ("After: if batch\n    a()\n", "sum(batch)\n", "sum(batch)\n        a()\n"),
        ("Before: self.loss =\n    if a:\n        b()\n\n    c()\n", "            self.loss =", None),
        ("Replace: if (\\w+)\n    if \\1 and a\n", "if batch:", "if batch and a:"),
        ("Before: nothing\n    a()\nOr: Before: return\n    a()\n", "        return", "        a()\n        return"),
    ],
)
def test_places(body, old, new):
    """First in a function, before and after a statement, in place of a line's start, and the second alternative."""
    code = "            if a:\n                b()\n\n            c()\n"
    assert made(body) == RUN.replace(old, new or code + old)


def test_first_without_docstring_and_with_decorator():
    """A function without a docstring gets the lines before its first statement, its decorators included."""
    text = "class Runner:\n    def train(self):\n        @x\n        def f(): ...\n"
    assert made("First\n    a()\n", text) == text.replace("        @x", "        a()\n        @x")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("unit", ["\t", "  ", "        "])
def test_indentation_and_line_ends_are_the_files(unit, end):
    """Tabs, two blanks, eight, CRLF: what goes in looks like what is there."""
    text = RUN.replace("    ", unit).replace("\n", end)
    found = made("Before: self\\.step\n    if a:\n        b()\n", text)
    assert f"{end}{unit * 2}if a:{end}{unit * 3}b(){end}{unit * 2}self.step({end}" in found
    assert found.replace(f"{unit * 2}if a:{end}{unit * 3}b(){end}", "") == text


def test_last_line_without_an_end():
    """A file may end without a line end; what goes in behind it leaves the new last line so."""
    assert made("After: a\n    b = 1\n", "a = 1", f"In {ENGINE}\n") == "a = 1\nb = 1"
    assert made("Replace: a\n    b\n", "a = 1", f"In {ENGINE}\n") == "b = 1"
    assert made("After: a\n    b = 1\n", "x = 0\r\na = 1", f"In {ENGINE}\n") == "x = 0\r\na = 1\r\nb = 1"
    assert made("Before: a\n    b = 1\n", "x = 0\na = 1", f"In {ENGINE}\n") == "x = 0\nb = 1\na = 1"


def test_lines_in_strings_comments_and_other_functions_do_not_count():
    """A docstring that shows the line, a comment, and a nested or other function are no places."""
    text = RUN.replace('batch."""', 'batch.\n\n        self.step(\n        """\n        # self.step(')
    text += "\n\nclass Other:\n    def train(self):\n        self.step(1)\n"
    assert made("Before: self\\.step\n    a()\n", text).count("        a()\n        self.step(\n            self") == 1
    found = make(ENGINE, b"def f():\n    a = 1\n", change("After: a = \n    b\n", f"In {ENGINE}\n"))
    assert found.word == CONFLICT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RUN.replace("self.step", "self.go"), "the line is not in Runner.train"),
        (
            RUN.replace("        return", "        self.step()\n        return"),
            "the line is there 2 times in Runner.train",
        ),
        (RUN.replace("def train", "def fit"), "there is no Runner.train"),
        (RUN.replace("class Runner", "class Walker"), "there is no Runner.train"),
    ],
)
def test_not_found_or_twice_is_a_conflict(text, reason):
    """Nothing is guessed."""
    result = make(ENGINE, text.encode(), change("Before: self\\.step\n    a()\n"))
    assert result.word == CONFLICT and reason in result.reason


@pytest.mark.parametrize(
    ("where", "body", "word"),
    [
        (WHERE.replace("train", "none, if there"), "First\n    a()\n", ABSENT),
        (WHERE, "Unless: return\nFirst\n    a()\n", ABSENT),
        (WHERE, "If: yield\nFirst\n    a()\n", ABSENT),
        (WHERE, "If: return\nFirst\n    a()\n", IN),
        (WHERE.replace("train", "train or Runner.save"), "Before: path\\.write\n    a()\n", IN),
        (WHERE, "Before: nothing\n    return self.loss\n", THERE),
    ],
)
def test_chosen_by_what_the_tree_has(where, body, word):
    """Absent functions, conditions, several functions, and lines that somebody pasted by hand."""
    assert make(ENGINE, RUN.encode(), change(body, where)).word == word


def test_broken_python_is_named():
    """A tree whose file does not parse is refused with its line."""
    with pytest.raises(PatchError, match=r"run.py is no valid Python \(.*line 1.*\): mend it first"):
        make(ENGINE, b"def f(:\n", change("First\n    a()\n"))


def test_bytes_that_are_not_utf8_survive():
    """A comment in another encoding is none of our business."""
    data = b"# -*- coding: latin-1 -*-\nx = 1  # \xe9\xff\n"
    edit = make(ENGINE, data, change("After: x = 1\n    y = 2\n", f"In {ENGINE}\n")).edit
    assert splice(data, edit) == data + b"y = 2\n"


def test_report_is_six_lines_that_can_be_pasted(toy):
    """File, patch and reason, then where the lines go, by the line that the pinned file has there, and the lines."""
    patch = parse_patch(toy.get("patches/add-call.patch"), "add-call.patch")
    plan = make_plan([patch], {ENGINE: RUN.replace("self.step", "self.go").encode()})
    lines = report(plan.outcomes[0])
    assert lines[:4] == [
        f"{ENGINE}: add-call does not fit: the line is not in Runner.train",
        "  paste in Runner.train, before `self.step(`:",
        "    if self.loss:",
        "        distill.add(self)",
    ]
    assert plan.files[ENGINE] == RUN.replace("self.step", "self.go").encode()  # not even the change that fits
    long = parse_patch(
        HEAD.format(needed="required").encode() + b"In ultralytics/a\nAfter: x\n" + b"    y\n" * 9, "a-b.patch"
    )
    assert (
        report(make_plan([long], {"ultralytics/a": b"z\n"}).outcomes[0])[-1] == "    (and 6 more: a-b.patch has them)"
    )


def test_print_shows_each_line_with_its_place(toy):
    """Pasted from the end to the start, what is printed makes the same file."""
    lines = RUN.split("\n")
    wanted = toy.get(ENGINE)
    shown = printed(ENGINE, RUN.encode(), wanted)
    spots = [i for i, line in enumerate(shown) if line.startswith(ENGINE)]
    for start, stop in zip(spots, [*spots[1:], len(shown)]):
        place = shown[start].partition(", ")[2].partition(":")[0].split()
        number, new = int(place[-1]), [line[3:] for line in shown[start + 1 : stop]]
        at = number if place[0] == "after" else number - 1
        lines[at : at + (place[0] == "in")] = new
    assert "\n".join(lines).encode() == wanted
