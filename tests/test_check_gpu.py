# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The script that settles a GPU: its plumbing, and in a slow test all of it that a CPU can run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import check_gpu
import pytest

from gpu_checks.stage import Skip, Stage, need
from ultralytics.distill.upstream import LINE

SCRIPT = Path(check_gpu.__file__)
CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from check_gpu import work
checks = {{"a": lambda s: ("ok", {{"x": 1}}), "b": lambda s: 1 / 0, "c": lambda s: sys.exit(3)}}
checks["d"] = lambda s: time.sleep(60)
split = sys.argv.index("--write")
work(sys.argv[sys.argv.index("--only") + 1 : split], checks, None, Path(sys.argv[split + 1]))
"""


def test_an_error_is_an_outcome(tmp_path):
    """What a check finds wrong is FAIL, what it cannot do here SKIP with its reason, and both have a line."""

    def wrong(stage):
        need(False, "maps are 2% apart")

    def absent(stage):
        raise Skip("no GPU")

    stage = Stage(tmp_path, "cpu", True)
    found = [
        check_gpu.attempt(k, c, stage) for k, c in (("a", lambda s: ("fine", {"x": 1})), ("b", wrong), ("c", absent))
    ]
    assert [x.result for x in found] == ["PASS", "FAIL", "SKIP"] and found[0].figures == {"x": 1}
    assert "b  FAIL" in found[1].line and "maps are 2% apart" in found[1].line and found[2].line.endswith("no GPU")


def test_a_dead_process_fails_alone(tmp_path):
    """A check that raises, one whose process dies, one that hangs, one without time: each fails alone."""
    child = tmp_path / "child.py"
    child.write_text(CHILD.format(paths=sys.path))
    command = [sys.executable, str(child)]
    found = check_gpu.run_group(["a", "b"], command, tmp_path, limit=60)
    assert [x.result for x in found] == ["PASS", "FAIL"] and "ZeroDivisionError" in found[1].says
    (dead,) = check_gpu.run_group(["c"], command, tmp_path, limit=60)
    assert dead.result == "FAIL" and "ended with code 3" in dead.says
    (slow,) = check_gpu.run_group(["d"], command, tmp_path, limit=5)
    assert slow.result == "FAIL" and "longer than 5 s" in slow.says and slow.seconds < 20
    assert "no time was left" in check_gpu.run_group(["e"], command, tmp_path, limit=-1)[0].says


def test_lines_json_and_exit_code(tmp_path, monkeypatch, capsys):
    """One line a check as they come, the same as JSON, and 1 where one failed."""
    outcomes = {"a": "PASS", "b": "FAIL"}
    monkeypatch.setattr(Stage, "prepare", lambda self: None)
    monkeypatch.setattr(
        check_gpu, "run_group", lambda some, *_: [check_gpu.Outcome(x, outcomes[x], "1%", 2, {"y": 3}) for x in some]
    )
    file = tmp_path / "x.json"
    assert check_gpu.main(["--device", "cpu", "--small", "--only", "a", "b", "--json", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a  PASS") and lines[1].startswith("b  FAIL") and lines[2].endswith("failed: b")
    said = json.loads(file.read_text())
    assert said["about"]["device"] == "cpu" and [x["figures"] for x in said["checks"]] == [{"y": 3}] * 2


def test_every_check_has_its_process():
    """From the third on each check has a process of its own."""
    assert [x for g in check_gpu.GROUPS for x in g] == list(check_gpu.CHECKS) and all(
        len(g) == 1 for g in check_gpu.GROUPS[1:]
    )


@pytest.mark.slow
@pytest.mark.skipif(LINE == "8.3", reason="Ultralytics 8.3 has neither distill_model nor compile=")
def test_all_that_a_cpu_can(tmp_path):
    """Every check runs or says why not, and none fails."""
    line = [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--json", str(tmp_path / "x.json")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    results = {x["check"]: x["result"] for x in json.loads((tmp_path / "x.json").read_text())["checks"]}
    assert results.pop("f") == "SKIP" and list(results) == list("abcdeghijk")
    assert set(results.values()) == {"PASS"}
