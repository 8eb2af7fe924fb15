# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The READMEs and the pages that are made from other files say what is there: arguments, results, links."""

from __future__ import annotations

import re
from pathlib import Path

import arguments
import forest
from ultralytics.distill.spelling import OLD_NAMES

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
ARGUMENTS = {a.name: a.default for a in arguments.read()}


def table(text):
    """Return the names and defaults of a README's table."""
    rows = [x.split("|")[1:3] for x in text.splitlines() if x.startswith("| `")]
    return [(name, default.strip()) for names, default in rows for name in re.findall(r"`(\w+)`", names)]


def code(text):
    """Return the fenced blocks of a README."""
    return re.findall(r"^```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_readme_is_short_and_its_arguments_have_their_defaults():
    """Under 200 lines, install and export on the first 40; each argument of the table has its default."""
    lines = TEXT.splitlines()
    assert len(lines) < 200 and any("yolo export" in x for x in lines[:40])
    assert len(table(TEXT)) == 5 and all(ARGUMENTS[name] == default for name, default in table(TEXT))


def test_page_of_arguments_is_made_from_default_yaml():
    """It is what the script writes, and names the older spellings that the code accepts."""
    text = arguments.PAGE.read_text(encoding="utf-8")
    assert text == arguments.page(), "run: python scripts/arguments.py"
    assert all(f"`{name}=" in text for name in OLD_NAMES)


def test_results_are_those_of_the_rows():
    """The table of the results is the script's, and README's figures stand in it or beside it."""
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert forest.table(forest.read(ROOT / "docs/results/accuracy.csv")) in page
    told = page + (ROOT / "docs/teacher.md").read_text(encoding="utf-8")
    assert [x for x in re.findall(r"[+-]0\.\d{3}", TEXT) if x not in told] == []


def test_figure_has_no_interval_for_two_seeds(tmp_path):
    """Two seeds give a mean alone; a comparison without plain runs is refused by a sentence."""
    two = forest.Difference([0.01, 0.03])
    assert forest._text(two) == "+0.020" and "[" in forest._text(forest.Difference([0.01, 0.03, 0.02]))
    entries = forest.read(ROOT / "docs/results/accuracy.csv")
    forest.draw(entries[:2], tmp_path / "forest.png")
    assert (tmp_path / "forest.png").stat().st_size > 5000


def test_files_exist():
    """Links lead somewhere, and the tree of the contributors' page is the tree."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = re.findall(r"^([\w./]+) {2,}", page, flags=re.MULTILINE)
    links = [x for text in (TEXT, CHINESE, page) for x in re.findall(r"\]\((?!http)([^)]+)\)", text)]
    assert len(links) > 6 and len(tree) > 5
    assert [x for x in (*links, *tree) if not (ROOT / x).exists()] == []


def test_chinese_readme_is_in_step():
    """It has the English one's headings, code, table, links and figures, and full-width punctuation in its text."""

    def shape(text):
        heads = re.findall(r"^(#+) ", text, re.MULTILINE)
        links = [x for x in re.findall(r"\]\(([^)]+)\)", text) if "README" not in x]
        return heads, code(text), table(text), sorted(set(links)), sorted(set(re.findall(r"[+-]?\d+\.\d+", text)))

    assert shape(CHINESE) == shape(TEXT)
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", CHINESE, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"[\u4e00-\u9fff][,;:?!()]|[,;:?!][\u4e00-\u9fff]", re.sub(r"\]\([^)]*\)", "]", prose)) == []
