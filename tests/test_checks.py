# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The static checks are not talked out of anything."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SILENCED = re.compile(r"#\s*(?:noqa\b|type:\s*ignore|ruff:|mypy:)[^#]*(?P<reason>#.*\w)?")


def test_no_warning_is_silenced_without_a_reason():
    """A comment that silences ruff or mypy names the rule, and a second one behind it says why."""
    folders = (ROOT / name for name in ("ultralytics/distill", "scripts", "tests", ".ci"))
    files = {*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))} - {Path(__file__)}
    assert len(files) > 100
    lines = ((path, line) for path in files for line in path.read_text(encoding="utf-8").splitlines())
    found = ((path, SILENCED.search(line)) for path, line in lines)
    assert [f"{path}: {match[0]}" for path, match in found if match and not match["reason"]] == []
