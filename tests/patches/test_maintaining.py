# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The maintainers' page: its worked conflict is replayed on a toy upstream, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from patching import tree
from patching.port import make_port, report, write
from toy import ENGINE, FACE, Toy, quiet

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/maintaining.md").read_text(encoding="utf-8")
FACE_TEXT = '__version__ = "%s"\n\nNAME = "toy"\n'
CALL = "    distill.hold(self)\n"


def blocks() -> list[str]:
    """Return the code blocks of the worked example."""
    return re.findall(r"```\w*\n(.*?)```", PAGE.partition("## A conflict, worked through")[2], flags=re.DOTALL)


def told(port) -> list[str]:
    """Return what a port tells of the example's patch."""
    lines: list[str] = []
    report(port, lines.append)
    return lines[2:]  # after the wheel's hash and the patch that sets the version


def test_worked_conflict(tmp_path):
    """The page's files, edits and output, from the conflict to the new pin."""
    pinned, patch, newer, conflict, move, moved = blocks()
    toy = Toy(tmp_path / "repo", {FACE: (FACE_TEXT % "1.0.0").encode(), ENGINE: pinned.encode()})
    tree.unpack(toy.repo, toy.repo.root, quiet)
    toy.edit(FACE, 'NAME = "toy"', '__version__ += "+distill.3"\nNAME = "toy"')
    toy.refresh("name-fork.patch")
    toy.put(ENGINE, change(pinned, patch).encode())
    toy.refresh("hold-gradients.patch")
    toy.add_release("1.1.0", {FACE: (FACE_TEXT % "1.1.0").encode(), ENGINE: newer.encode()})
    port = make_port(toy.repo, "1.1.0")
    assert port.needs_a_hand and told(port) == conflict.splitlines()

    toy.put(ENGINE, change(toy.get(ENGINE).decode(), move).encode())
    toy.refresh("hold-gradients.patch")
    port = make_port(toy.repo, "1.1.0")
    assert not port.needs_a_hand and told(port) == moved.splitlines()
    write(port, quiet)
    toy.apply()
    assert toy.get(ENGINE).decode() == newer.replace("    self.report()\n", CALL + "    self.report()\n")


def change(text: str, diff: str) -> str:
    """Make the change that a block without line numbers shows."""
    lines = diff.splitlines(keepends=True)
    old, new = ("".join(line[1:] for line in lines if line[0] in f" {mark}") for mark in "-+")
    assert text.count(old) == 1
    return text.replace(old, new)


def test_commands_exist():
    """Every command that the page names is one, with the options it is given."""
    named = set(re.findall(r"patchset\.py (\w+)((?: --\w+)*)", PAGE))
    assert {name for name, _ in named} >= {"apply", "refresh", "drop", "check", "port", "drift", "release"}
    for name, options in sorted(named):
        command = [sys.executable, str(ROOT / "scripts/patchset.py"), name, "--help"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert all(option in text for option in options.split()), (name, options)


def test_page_is_one_page():
    """Short enough to be read, and it says all of a maintainer's work."""
    assert len(PAGE.splitlines()) < 130
    assert all(f"| {what} |" in PAGE for what in ("edit a patch", "add a patch", "drop a patch", "release"))
