# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a run may write over, and what it takes back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ultralytics.distill.teacher.source import Source
from ultralytics.distill.training.folder import Folder, require_kept


@pytest.fixture
def check(tmp_path):
    """`check(name, ...)`: whether a run in `run` may have the teacher of that name beside other sources."""
    weights = tmp_path / "run" / "weights"
    weights.mkdir(parents=True)
    (tmp_path / "link").symlink_to(weights)
    (tmp_path / "teacher.pt").symlink_to(weights / "best.pt")

    def allowed(name, *others, device="cpu", resume=False, **args):
        args = SimpleNamespace(**{"save_period": -1, "distill_online": False, "device": device, **args})
        trainer = SimpleNamespace(args=args, save_dir=weights.parent, wdir=weights, resume=resume)
        require_kept(trainer, [Source(object(), tmp_path / name), *others])
        return True

    allowed.weights = weights
    return allowed


@pytest.mark.parametrize(("name", "more"), [
    ("run/weights/best.pt", {}), ("run/weights/last.pt", {"resume": True}), ("teacher.pt", {}), ("link/last.pt", {}),
    ("run/weights/epoch10.pt", {"save_period": 5}), ("run/weights/teacher_last.pt", {"distill_online": True}),
    ("run/weights/teacher.pt", {"device": "0,1"}), ("run/mine.pt", {"device": "0,1"}),
])  # fmt: skip
def test_a_teacher_in_the_place_of_the_students_weights_is_refused(name, more, check):
    """The student's own files, through links too, and before several devices clear the folder: one sentence."""
    with pytest.raises(ValueError, match=r"^'model_t=/.*' lies where this run .* another place\.$") as e:
        check(name, **more)
    assert "\n" not in str(e.value)


def test_a_teacher_that_another_is_saved_over_is_refused(check):
    """A live teacher of a list is saved as `teacher1.pt`, which may be the file of the second."""
    live = Source(object(), check.weights / "teacher1.pt", save=True, live=True)
    assert check("run/weights/teacher2.pt", live)
    with pytest.raises(ValueError, match="teacher1.pt' lies where"):
        check("run/weights/teacher1.pt", live)


@pytest.mark.parametrize(("name", "more"), [
    ("run/weights/teacher.pt", {}), ("run/weights/teacher.pt", {"device": "0,1", "resume": True}),
    ("run/weights/epoch10.pt", {}), ("run2/weights/best.pt", {"device": "0,1"}), ("run/best.pt", {}),
])  # fmt: skip
def test_a_teacher_that_no_run_touches_is_taken(name, more, check):
    """Ours from an earlier process of the run, one of another run, and what this run does not write."""
    assert check(name, **more)
    assert check(name, Source(None, Path("ema")), **more)


def test_an_earlier_live_teacher_is_put_back(tmp_path):
    """What stood where a live teacher is saved comes back with a run that never began, and is let go of after."""
    (tmp_path / "weights").mkdir()
    old, new = tmp_path / "weights/teacher1.pt", tmp_path / "weights/teacher2.pt"
    old.write_text("earlier")
    folder = Folder(tmp_path, [old, new])
    for path in (old, new):
        path.write_text("later")
    folder.put_back()
    assert old.read_text() == "earlier" and not new.exists()
    folder.keep()
    assert not folder.held
