# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What a teacher can be worth: how far it is ahead of the student on the same images, and how much of that was won."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MAIN = ("mAP50-95", "accuracy_top1", "mIoU", "delta1")  # the accuracy that is said, of upstream's metrics
# Differences in that accuracy. Two seeds of one plain training differ by 0.02 (standard deviation, the median of nine
# plain settings in the CSV files of docs/), and students there won a twentieth to a half of what their teacher was
# ahead: of less than 0.1, a fifth is no more than seeds differ by.
NOTHING = 0.02
LITTLE = 0.1
CLOSE = 0.9  # share of its teacher's accuracy; a student that a weak teacher held back ended at 0.91


def main_metric(names: Iterable[str]) -> str | None:
    """Return the metric that decides: mAP50-95 of the task's own output (masks before boxes), top-1, mIoU or delta1."""
    found = [k for k in names if k.rpartition("/")[2].startswith(MAIN)]
    return next((k for k in found if not k.endswith("(B)")), found[0] if found else None)


def outlook(teacher: float, student: float | None) -> str:
    """Return a verdict on what is to be won, the rest of a sentence, from accuracies on the same images.

    A student without one knows nothing of them yet.
    """
    if student is None:
        return "what the teacher is above a student trained without it (scripts/compare.py measures that)"
    gap = teacher - student
    if gap <= NOTHING:
        return f"nothing ({gap:+.3f}); train without it or take one that is more accurate on these images"
    if gap < LITTLE:
        return f"little, at most {gap:+.3f}, about what two seeds of one training differ by"
    return f"much, at most {gap:+.3f}"


def verdict(teacher: Mapping[str, float], student: Mapping[str, float], rising: bool) -> str:
    """Return which share of its teacher a distilled student has reached and what may help next.

    Both have metrics by name, on the same images; where one was not measured nothing is said. `rising` tells that the
    student's accuracy was still rising when the run ended.
    """
    key = main_metric(student)
    if key is None or key not in teacher:
        return ""
    best, own = teacher[key], student[key]
    if best <= NOTHING:
        return f"The teacher has {key} {best:.3f} on these images and little to teach; train it on this data first."
    says = f"The student has {own / best:.0%} of its teacher's {key} ({own:.3f} of {best:.3f})."
    if own >= CLOSE * best:
        return f"{says} Next: a teacher that is more accurate on these images; this one has little left to give."
    help_ = "more epochs, the accuracy was still rising" if rising else "more images, or a larger student"
    return f"{says} Next: {help_}. How much the teacher gave, only a run without it tells (scripts/compare.py)."


def sentence(teacher: float, plain: float, won: Mapping[str, float]) -> str:
    """Return what there was to win after the trainings, and what each distilled student has above the plain one."""
    gap = teacher - plain
    text = f"To win: teacher {teacher:.3f} - plain student {plain:.3f} = {gap:+.3f}"
    if gap <= NOTHING:
        return f"{text}, which is nothing; a teacher that is more accurate on these images may give more."
    shares = [f"{name} {x:+.3f}, {x / gap:.0%} of it" for name, x in won.items()]
    return f"{text}; won: {'; '.join(shares)}." if shares else f"{text}."
