# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The benchmark script, small: what it prints and writes, not how fast anything is."""

import json
import logging

import benchmark
import pytest

from benchmarking.measure import compare, rows
from ultralytics.distill.upstream import LINE
from ultralytics.utils import LOGGER


@pytest.fixture
def quiet():
    """The script's silence ends with the test."""
    loggers = LOGGER, logging.getLogger()
    levels = [x.level for x in loggers]
    yield
    for logger, level in zip(loggers, levels):
        logger.setLevel(level)


@pytest.mark.skipif(LINE == "8.3", reason="Ultralytics 8.3 has no distill_model to compare with")
def test_it_measures_every_way(tmp_path, capsys, quiet):
    """Six ways of a step, their medians and ratios as a table, and as JSON."""
    options = ["--imgsz", "64", "--batch", "2", "--steps", "2", "--teacher", "yolov8n.yaml", "--no-memory"]
    terms = ["--terms", "distill_feat=cwd", "distill_logit=none", "distill_precision=fp32"]
    benchmark.main([*options, *terms, "--device", "cpu", "--json", str(tmp_path / "x.json")])
    found, said = json.loads((tmp_path / "x.json").read_text()), capsys.readouterr().out
    assert [r["way"] for r in found["rows"]] == ["plain", "native", "tutorial", "ours", "floor", "answers"]
    assert all(r["ms"] > 0 and r["steps"] == 2 for r in found["rows"])
    assert "distill_feat=cwd" in said and "fp32" in found["about"]["our_teacher"]
    assert max(map(len, said.splitlines())) <= 120


def test_an_argument_that_is_none(capsys):
    """What is no distillation argument is refused before anything is built."""
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["--terms", "epochs=3"])
    assert "--terms epochs=3: give distillation arguments" in capsys.readouterr().err


def test_ratios_are_taken_round_by_round():
    """A round in which the machine was slow for all counts as any other."""
    times = {"native": [100.0, 1000.0, 100.0], "ours": [70.0, 700.0, 80.0], "floor": [50.0, 500.0, 50.0]}
    assert compare(times, "ours", "native")[0] == pytest.approx(0.7)
    found = rows(times, {"native": 200.0, "ours": 150.0})
    ours = next(r for r in found if r["way"] == "ours")
    assert ours["mib_by_native"] == 0.75 and ours["by_floor"] == pytest.approx(1.4) and ours["ms"] == 80.0
    assert benchmark.table(found).splitlines()[2].split()[:3] == ["ours", "80", "0.70"]


def test_the_start_with_a_file_of_answers(capsys, quiet):
    """Drawn answers are read and joined with a set of as many images; time and memory are said."""
    found = benchmark.main(["--startup", "50"])
    assert found["seconds"] > 0 and "answers for 50 images:" in capsys.readouterr().out
