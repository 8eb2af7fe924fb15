# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The teacher's final boxes as soft labels of the student's own criterion."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.distill.boxes import join, merge
from ultralytics.distill.labels import read_labels, sized
from ultralytics.distill.values import number

from .base import Loss


class Pseudo(Loss):
    """Pseudo-labels with soft scores: what the teacher finally says is a second set of labels.

    The teacher's boxes behind non-maximum suppression, each with a score q_c for each class, go to the student's own
    criterion, on the predictions of the same forward. Its label assigner (or RT-DETR's matcher) gives them to anchors
    (or queries); there, with a the alignment by which upstream grades its own targets,

        class target of an anchor = a * q_c,    weight of its box = a * sum_c q_c.

    Boxes learn by what the criterion has for boxes: overlap and DFL or L1; at RT-DETR an object's largest q_c weighs
    the gradient of its box. So any detector teaches any other, and with hard labels for answers the term is the task
    loss. Hard pseudo-labels are Sohn et al., STAC, arXiv 2005.04757; soft ones weighted by the teacher's confidence Xu
    et al., Soft Teacher, ICCV 2021, arXiv 2106.09018. Scores are not sharpened or calibrated: detectors are trained to
    say by a score how well their box fits (Li et al., Generalized Focal Loss, arXiv 2006.04388), and what they are not
    sure of weighs less. Masks, keypoints and angles that both models have are taught with their boxes, by what the
    criterion has for them.

    An answer and a label of one class that overlap by 0.5 or more are one object, and the term has it with the answer's
    box and scores: `boxes.merge` says the rule. The task loss stays what it is.

    Args:
        conf (float): Score from which a box of the teacher counts.
        alpha (float): Share of the answer, in box and scores, where it and a label mean one object. Where nothing is
            labelled an answer has so much of its scores; in images without labels it has all of them.
    """

    final = True  # final boxes are compared, whatever the two heads

    def __init__(self, conf: float = 0.1, alpha: float = 1.0):
        """Check and keep the parameters."""
        super().__init__()
        self.conf, self.alpha = number("conf", conf, above=0, most=1), number("alpha", alpha, least=0, most=1)

    def loss(self, student: Any, teacher: Any, batch: dict[str, Any] | None) -> torch.Tensor:
        """Return the student's own loss for the teacher's objects.

        Args:
            student (Criterion): The student's criterion with the predictions that it was given.
            teacher (Boxes): The teacher's final boxes.
            batch (dict): Upstream's batch.
        """
        images, batch = self.need(batch, "img", "batch"), batch or {}
        count, size = len(images), (images.shape[2], images.shape[3])
        labels = read_labels(batch, teacher.scores.shape[1], tuple(teacher.more), student.overlap)
        if "masks" in labels.more:
            teacher = sized(teacher, labels.more["masks"].shape[1:])
        if "labeled" in batch:  # of the other images nobody else says anything
            labels, known = labels[labels.image < batch["labeled"]], teacher.image < batch["labeled"]
            merged = join(merge(labels, teacher[known], count, self.alpha, size=size), teacher[~known])
        else:
            merged = merge(labels, teacher, count, self.alpha, size=size)
        return student.ask(merged, count)
