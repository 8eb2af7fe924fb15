# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""`results.csv` of a run that goes on in other terms, written by upstream's own method."""

from __future__ import annotations

import csv
from collections import defaultdict
from types import SimpleNamespace

import polars
import pytest

from ultralytics.distill import trainer as patched
from ultralytics.distill.training.results import fit_table
from ultralytics.engine.trainer import BaseTrainer

TASK = ["train/box_loss", "metrics/mAP", "val/box_loss", "lr/pg0"]
ONE = [*TASK[:1], "train/dlogit_loss", *TASK[1:], "distill/ld", "distill/weight"]
OTHER = [*TASK[:1], "train/dfea_loss", *TASK[1:], "lr/pg1", "distill/cwd/P3", "distill/weight"]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(names, epoch, distilled=True)`: an epoch in a process of its own; a value is the epoch and its name."""
    file = tmp_path / "results.csv"
    monkeypatch.setattr(patched, "csv_columns", lambda trainer, row: fit_table(trainer, row) or row)

    def epoch(names, number, distilled=True, whole=True):
        callbacks = defaultdict(list)
        trainer = SimpleNamespace(csv=file, epoch=number - 1, train_time_start=0, distilled=distilled)
        trainer.callbacks, trainer.distill = callbacks, object() if distilled else None
        trainer.add_callback = lambda event, f: callbacks[event].append(f)
        BaseTrainer.save_metrics(trainer, {name: value(name, number) for name in names})
        for f in callbacks["on_fit_epoch_end"] if whole else []:
            f(trainer)
        return callbacks

    epoch.file = file
    return epoch


def value(name, number):
    """Return a number that tells its column and its epoch."""
    return number + sum(map(ord, name)) / 1e4


def require_right(file, terms):
    """Look that each row has its own values under their names, and nothing under others."""
    table = list(csv.reader(file.read_text().splitlines()))
    assert {len(row) for row in table} == {len(table[0])}
    read = polars.read_csv(file, infer_schema_length=None)
    assert read["epoch"].to_list() == [*range(1, len(terms) + 1)] and polars.String not in read.dtypes
    for i, names in enumerate(terms):
        for name in read.columns[2:]:
            found = read[name][i]
            assert found == pytest.approx(value(name, i + 1), rel=1e-5) if name in names else found is None, (i, name)


@pytest.mark.parametrize("terms", [[ONE, TASK], [ONE, OTHER], [TASK, ONE], [ONE, TASK, TASK, OTHER, ONE]])
def test_other_terms(terms, write):
    """Resumed without a teacher, with other terms, with a first teacher, and several times: names keep their values."""
    for i, names in enumerate(terms):
        write(names, i + 1, distilled=names is not TASK)
    require_right(write.file, terms)
    assert not list(write.file.parent.glob("*.part"))


def test_the_same_terms_and_plain_runs_are_left_alone(write):
    """What fits is not written anew, and a run that never had a teacher is upstream's, whatever its header says."""
    for names, distilled in ((ONE, True), (TASK, False)):
        write.file.unlink(missing_ok=True)
        write(names, 1, distilled)
        before = write.file.read_bytes()
        assert not any(write(names, 2, distilled).values()) and write.file.read_bytes().startswith(before)
    write([*TASK, "more"], 3, distilled=False)
    assert write.file.read_bytes().startswith(before) and len(write.file.read_text().splitlines()) == 4


def test_killed_in_the_middle_of_a_row(write):
    """The row that a kill cut off goes, since its epoch is trained again; one without its empty cells is filled."""
    write(ONE, 1)
    write(TASK, 2, distilled=False, whole=False)
    with open(write.file, "a") as f:
        f.write("3,12.5,0.")
    write(TASK, 3, distilled=False)
    require_right(write.file, [ONE, TASK, TASK])
    write.file.write_text("epoch,ti")  # not even the header is whole
    write(ONE, 1)
    require_right(write.file, [ONE])
