# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The README names what is there: its arguments and defaults, the older spellings, files."""

from __future__ import annotations

import re
from pathlib import Path

from ultralytics.distill.spelling import OLD_NAMES
from ultralytics.utils import DEFAULT_CFG_PATH

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_argument_stands_in_the_table_with_its_default():
    """From `model_t` to `distill_precision`, in the order of `default.yaml`, and no other."""
    rows = [x.split("|")[1:3] for x in TEXT.splitlines() if x.startswith("| `")]
    shown = [(name, default.strip()) for names, default in rows for name in re.findall(r"`(\w+)`", names)]
    lines = DEFAULT_CFG_PATH.read_text(encoding="utf-8").splitlines()
    pairs = [re.match(r"(\w+):\s*([^#]*)", x).groups() for x in lines if re.match(r"\w+:", x)]
    names = [k for k, _ in pairs]
    first, last = names.index("model_t"), names.index("distill_check")
    assert shown == [(k, v.strip() or "none") for k, v in pairs[first : last + 1]]


def test_older_spellings_are_named():
    """All that the code accepts."""
    assert all(f"`{name}=" in TEXT for name in OLD_NAMES)


def test_files_exist():
    """Links lead somewhere, and the tree at the end is the tree."""
    links = re.findall(r"\]\((?!http)([^)]+)\)", TEXT)
    tree = re.findall(r"^([\w./]+) {2,}", TEXT.split("## Where things are")[1], flags=re.MULTILINE)
    assert len(links) > 3 and len(tree) > 5
    assert [x for x in (*links, *tree) if not (ROOT / x).exists()] == []


def test_chinese_readme_has_the_same_arguments_and_commands():
    """Its table has the same arguments and defaults, its code blocks are the English ones."""
    other = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")

    def table(text):
        rows = [x.split("|")[1:3] for x in text.splitlines() if x.startswith("| `")]
        return [(name, default.strip()) for names, default in rows for name in re.findall(r"`(\w+)`", names)]

    def code(text):
        return [x.strip() for x in re.findall(r"^```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]

    assert table(other) == table(TEXT)
    assert [x for x in code(other) if x not in code(TEXT) and "compare.py" not in x] == []
    assert [x for x in re.findall(r"\]\((?!http)([^)]+)\)", other) if not (ROOT / x).exists()] == []
