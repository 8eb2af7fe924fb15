"""What a run leaves alive from epoch to epoch."""

import pytest
from soak import make_teacher, run, trend

TERMS = {"distill_feat": "[cwd,mgd]", "distill_logit": "[bckd,ld]", "distill_rel": "[sp,crd]"}


def test_nothing_piles_up(few_objects, tmp_path):
    """Live tensors, hooks and open files stay as they are, through epochs of another batch and another image size.

    With a step each batch no gradient waits over an epoch's end, where it would be counted.
    """
    found = run(tmp_path, "run", epochs=6, every=2, nbs=4, model_t=str(make_teacher(tmp_path)), **TERMS)
    assert len(found) == 6
    for key in ("tensors", "hooks", "files"):
        assert len({x[key] for x in found[1:]}) == 1, (key, [x[key] for x in found])


@pytest.mark.slow
def test_a_leak_is_seen(tmp_path, monkeypatch):
    """A term that keeps its maps, and a tap that leaves its hook, show in the counts."""
    from ultralytics.distill.terms.term import MapTerm

    kept, forward = [], MapTerm.forward

    def leak(self, student, teacher, batch):
        kept.extend(student.maps.values())
        self.register_forward_hook(lambda *args: None)
        return forward(self, student, teacher, batch)

    monkeypatch.setattr(MapTerm, "forward", leak)
    found = run(tmp_path, "run", epochs=3, every=2, model_t=str(make_teacher(tmp_path)), distill_feat="cwd")
    assert found[2]["tensors"] > found[1]["tensors"] and found[2]["hooks"] > found[1]["hooks"]


def test_trend_is_a_slope_with_its_error():
    """A straight line has its slope and no error; a noise that repeats has none."""
    assert trend([0.5 * i for i in range(80)], 10) == pytest.approx((0.5, 0.0))
    slope, error = trend([(-1) ** (i // 10) for i in range(160)], 10)
    assert abs(slope) < error
