# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a comparison says: gain, loss or not told apart, how many more seeds, what there was to win, several sets."""

from __future__ import annotations

import builtins
from types import SimpleNamespace

import pytest
from compared import RUNS, row, runs

import compare
import forest
from comparing import job, rows, table, verdict


@pytest.mark.parametrize(
    "values, word, count",
    [([0.03, 0.02, 0.04], "gain", 0), ([-0.03, -0.02, -0.04], "loss", 0), ([0.03, 0.02], "not told apart", 1)],
)
def test_the_interval_decides(values, word, count):
    """It has to be clear of zero, and two seeds tell nothing."""
    found = verdict.judge(values)
    assert (found.word, found.more) == (word, count)


def test_how_many_more_seeds():
    """A difference as large as its spread takes ten seeds for a power of 80 percent, half as large 34."""
    assert verdict.more(0.01, 0.01, 3) == 7 and verdict.more(-0.01, 0.02, 3) == 31  # G*Power, paired, two-sided
    assert verdict.more(0.001, 0.1, 3) is None and verdict.more(0.0, 0.1, 3) is None
    assert verdict.more(9.0, 0.001, 2) == 1 and verdict.judge([0.01]).more == 2


def test_the_sentence_names_all_of_it():
    """Method, what it is compared with, the column, the seeds, the verdict with its interval, and what is missing."""
    said = verdict.sentences(RUNS)
    assert said[0].startswith("native over plain, mAP50-95, 3 seeds: not told apart, +0.0000 [")
    assert "ours over plain, mAP50-95, 3 seeds: gain, +0.0300 [+0.0052, +0.0548]" in said
    few = verdict.sentences([*runs("plain", (0.3, 0.3, 0.3)), *runs("ours", (0.31, 0.32, 0.30))])
    assert few == [
        "ours over plain, mAP50-95, 3 seeds: not told apart, +0.0100 [-0.0148, +0.0348]; "
        "about 7 more seeds would tell a difference of this size"
    ]
    one = verdict.sentences(runs("plain", (0.3,)) + runs("ours", (0.31,)))
    assert one[0].endswith("not told apart, +0.0100; at least 2 more seeds before anything can be told")
    (none,) = verdict.sentences(runs("plain", (0.3, 0.3, 0.3)) + runs("ours", (0.3, 0.301, 0.299)))
    assert none.endswith("more than 200 seeds would be needed to tell a difference of this size, so take it for none")


def test_without_statsmodels_only_the_number_is_missing(monkeypatch):
    """The verdict stands, and a sentence says what to install."""
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("statsmodels"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (few,) = verdict.sentences([*runs("plain", (0.3, 0.3, 0.3)), *runs("ours", (0.31, 0.32, 0.30))])
    assert "not told apart, +0.0100 [-0.0148, +0.0348]; how many more" in few and "pip install statsmodels" in few
    assert verdict.sentences(RUNS)[1].endswith("gain, +0.0300 [+0.0052, +0.0548]")
    elsewhere = [{**r, "data": "e.yaml"} for r in RUNS]
    assert "not pooled, which needs statsmodels" in verdict.pooled(rows.groups([*RUNS, *elsewhere]))[0]


def test_sets_are_pooled_as_a_random_effect():
    """Of three sets with effects 0.02, 0.015 and 0.03, each known to 0.003, by hand: 0.0217, known to 0.0044; t 4.303.

    Their spread is 0.0076 where the seeds explain 0.003. With effects that happen to be alike the interval is not
    narrower than what the seeds allow.
    """
    sets = [[m + d * 0.003 * 3**0.5 for d in (-1, 0, 1)] for m in (0.02, 0.015, 0.03)]
    found = verdict.pool(sets)
    assert found.word == "gain" and found.mean == pytest.approx(0.065 / 3)
    assert found.half == pytest.approx(4.303 * 0.0044096, rel=1e-3)
    alike = verdict.pool([[0.02 + d * 0.003 * 3**0.5 for d in (-1, 0, 1)]] * 3)
    assert alike.half == pytest.approx(4.303 * 0.003 / 3**0.5, rel=1e-3)


def test_pooling_says_what_it_leaves_out():
    """Methods on two data sets are pooled under the same arguments; a set with two teachers is named."""
    other = [{**r, "data": "e.yaml"} for r in RUNS]
    said = verdict.pooled(rows.groups([*RUNS, *other]))
    assert [x.split(" over ")[0] for x in said] == ["native", "ours"]
    assert "2 data sets as a random effect: " in said[1]
    assert verdict.pooled(rows.groups([*RUNS, *({**r, "arguments": "epochs=3"} for r in other)])) == []
    second = [{**r, "teacher": "u.pt"} for r in RUNS if r["method"] == "ours"]
    assert "d.yaml has several teachers" in verdict.pooled(rows.groups([*RUNS, *other, *second]))[1]


def test_what_there_was_to_win():
    """Teacher minus plain on the same images, and the share of it that each method won; a teacher level with plain."""
    known = [{**r, "teacher_accuracy": "" if r["method"] == "plain" else "0.45"} for r in RUNS]
    assert verdict.sentences(known)[0] == (
        "To win: teacher 0.450 - plain student 0.350 = +0.100; won: native +0.000, 0% of it; ours +0.030, 30% of it."
    )
    level = [{**r, "teacher_accuracy": r["teacher_accuracy"] and "0.36"} for r in known]
    assert "= +0.010, which is nothing" in verdict.sentences(level)[0]
    larger = [
        {**r, "teacher_accuracy": "0.55"} if r["method"] == "native" else r for r in known
    ]  # it saw larger images
    assert [x[:20] for x in verdict.sentences(larger)[:2]] == ["To win: teacher 0.55", "To win: teacher 0.45"]


def test_the_score_is_the_median_of_the_last_epochs(tmp_path):
    """Of the task's own metric, five epochs of those there are; tables show it where all rows have it."""
    lines = "".join(f"{i},0.{i}\n" for i in (9, 1, 5, 2, 4, 3))
    (tmp_path / "results.csv").write_text("epoch,metrics/mAP50-95(M)\n" + lines)
    found = job.score(tmp_path, {"main": "metrics/mAP50-95(M)", "last": 5})
    assert found == {"score": 0.3} and job.score(tmp_path, {"main": "metrics/mAP50-95(M)"}) == {}
    scored = [{**r, "score": str(float(r["metrics/mAP50-95(B)"]) + 0.1)} for r in RUNS]
    assert [x[0] for x in table.cells(scored)[1:4]] == ["score"] * 3 and table.cells(scored)[1][3] == "0.4500"
    assert "ours over plain, score, 3 seeds" in " ".join(verdict.sentences(scored))
    assert rows.decisive([*scored, RUNS[0]]) == "metrics/mAP50-95(B)"
    assert rows.decisive([{**r, "split": "test"} for r in scored]) == "metrics/mAP50-95(B)"  # the score is of val
    masks = {**RUNS[0], "metrics/mAP50-95(M)": "0.2"}
    assert rows.decisive([masks]) == "metrics/mAP50-95(M)"


def test_a_file_may_have_int8(monkeypatch, capsys):
    """Its figures stand in the table behind the others, and no verdict is on them; what is missing is said first."""
    both = [{**r, rows.INT8: str(float(r["metrics/mAP50-95(B)"]) - 0.02)} for r in RUNS]
    names = list(dict.fromkeys(x[0] for x in table.cells(both)[1:]))
    assert names == ["mAP50-95", "mAP50", "INT8"] and rows.decisive(both) == "metrics/mAP50-95(B)"
    assert [x[3] for x in table.cells(both) if x[0] == "INT8"][0] == "0.3300"
    monkeypatch.setattr(compare, "missing_packages", lambda names: ["onnx", "onnxruntime"])
    with pytest.raises(SystemExit):
        compare.parse(["--data", "a.yaml", "--student", "s.pt", "--teacher", "t.pt", "--int8"])
    assert "--int8 needs packages: pip install onnx onnxruntime" in capsys.readouterr().err
    assert job.exported(None, {}) == {}


def test_what_intervals_need_is_missed_before_the_training(monkeypatch, capsys):
    """Without scipy, which stock does not bring, no training is begun that could not be reported."""
    monkeypatch.setattr(compare, "missing_packages", lambda names: names)
    monkeypatch.setattr(forest, "missing_packages", lambda names: names)
    asked = (compare.parse, ["--data", "a.yaml", "--student", "s.pt", "--teacher", "t.pt"]), (forest.main, ["a.csv"])
    for command, line in asked:
        with pytest.raises(SystemExit):
            command(line)
        assert 'pip install "statsmodels>=0.14"' in capsys.readouterr().err


def test_only_the_last_epochs_are_validated(tmp_path):
    """Five of twenty are, unless the training validates all."""
    watch = job.Watch(tmp_path / "w.json", 0, tmp_path / "s.pt", last=5)
    loader = SimpleNamespace(generator=None, reset=lambda: None)
    trainer = SimpleNamespace(args=SimpleNamespace(val=False), epochs=20, train_loader=loader)
    seen = []
    for trainer.epoch in range(20):
        watch.train_epoch_start(trainer)
        seen.append(trainer.args.val)
    assert seen == [False] * 15 + [True] * 5


def test_files_of_before_stay_readable(tmp_path):
    """Rows without the later columns are rows of all labels."""
    file = tmp_path / "a.csv"
    old = [k for k in rows.columns(["metrics/mAP50(B)", "metrics/mAP50-95(B)"]) if k not in rows.LATER]
    for r in RUNS:
        rows.append(file, old, {k: r.get(k, "") for k in old})
    assert {r["labels"] for r in rows.read(file)} == {"1"} and table.cells(rows.read(file)) == table.cells(RUNS)


def test_a_row_says_which_labels_it_saw():
    """Shares are comparisons of their own, and one teacher for each seed is still one comparison."""
    few = [{**r, "labels": "0.1"} for r in RUNS]
    assert [len(x) for x in rows.groups([*RUNS, *few]).values()] == [9, 9]
    each = [row("ours", s, 0.4, teacher="few-{labels}-{seed}.pt", teacher_sha256=f"{s}") for s in range(3)]
    ((key, some),) = rows.groups([*RUNS[:3], *each]).items()
    assert len(some) == 6 and "(" not in table.title(key) and table.title((*key[:-1], "0.1")).endswith("labels of 10%")


def test_an_empty_cell_of_a_later_column_is_filled_in(tmp_path):
    """A file to which later columns were added by hand, as docs/results/accuracy.csv, is of all labels too."""
    file = tmp_path / "a.csv"
    rows.append(file, list(RUNS[0]), {**RUNS[0], "labels": ""})
    assert rows.read(file)[0]["labels"] == "1" and rows.identify(rows.read(file)[0]) == rows.identify(RUNS[0])
