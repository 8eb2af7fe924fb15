# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The few functions that the patches call. Each does nothing in a run that never had a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultralytics.distill import unused_arguments
from ultralytics.distill.answers.join import add_to_training_set, require_answers
from ultralytics.distill.answers.recorded import require_final_terms
from ultralytics.distill.base import BaseDistiller
from ultralytics.distill.losses import FEATURE, FINAL, RELATION, RESPONSE
from ultralytics.distill.report import summary
from ultralytics.distill.report.formula import log_start
from ultralytics.distill.runtime.distributed import CollectiveStep
from ultralytics.distill.runtime.errors import install_excepthook
from ultralytics.distill.spelling import require_forward
from ultralytics.distill.teacher import online
from ultralytics.distill.teacher.evaluation import evaluate_teachers
from ultralytics.distill.teacher.preprocessing import check_preprocessing
from ultralytics.distill.teacher.several import read_each
from ultralytics.distill.teacher.source import resolve, teachers_of
from ultralytics.distill.terms.term import build_loss
from ultralytics.distill.training.building import build_step
from ultralytics.distill.training.commands import spell_out
from ultralytics.distill.training.folder import Folder, require_kept
from ultralytics.distill.training.memory_probe import count_in_auto_batch
from ultralytics.distill.training.optimizer import OwnOptimizer
from ultralytics.distill.training.results import fit_table, space_columns
from ultralytics.distill.training.resume import checkpoint, restore
from ultralytics.distill.training.run import Run, begin_batch, put_back, save_teacher
from ultralytics.distill.unlabeled.batches import Unlabeled, files_of, read_share, require_images_alone
from ultralytics.distill.unlabeled.unlabeled_only import read_unlabeled_only, require_no_labels
from ultralytics.distill.upstream import adapt, keeps_average, order_columns, torn_down, unwrap_model
from ultralytics.distill.values import longer_side, refuse, shown
from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer


NAMED = {*FEATURE.values(), *RESPONSE.values(), *FINAL.values(), *RELATION.values()}


def take_teacher(trainer: BaseTrainer, overrides: dict[str, Any] | None) -> dict[str, Any] | None:
    """Take a teacher that is given beside `resume` out of the arguments; `attach` puts it back.

    Upstream would ignore it: the trainer's arguments are about to give way to the checkpoint's.
    """
    if not trainer.args.resume or not overrides or "model_t" not in overrides:
        return overrides
    trainer.given_teacher = overrides["model_t"]
    return {k: v for k, v in overrides.items() if k != "model_t"}


def attach(trainer: BaseTrainer) -> Run | None:
    """Read and check the arguments and the teacher, before anything is written.

    Returns:
        (Run | None): None without a teacher. `trainer.args` holds plain values afterwards.

    Raises:
        ValueError: If an argument does not fit; one sentence that names it, its value and what would do.
        FileNotFoundError: If the teacher does not exist.
    """
    args = trainer.args
    if hasattr(trainer, "given_teacher"):
        args.model_t = trainer.given_teacher
    given = teachers_of(getattr(args, "model_t", None))
    if not given:
        unused_arguments.warn_without_teacher(args)
        return None
    install_excepthook(trainer)
    teachers, native = f"'model_t={shown(args.model_t)}'", getattr(args, "distill_model", None)
    refuse({f"{teachers} and 'distill_model={native}' are two teachers; give one of them.": native is not None})
    configs = read_each(args, len(given))
    config, own = configs[0], configs[0].module
    unused_arguments.warn_beside_teacher(args, configs)
    average, several = "ema" in given, len(given) > 1
    stranger = own and not issubclass(own.cls, BaseDistiller)
    derive = "derive it from ultralytics.distill.BaseDistiller"
    refuse({
        f"{teachers}: 'ema' teaches alone; give it without other teachers.": average and several,
        "'model_t=ema' needs Ultralytics 8.4 on several devices; train on one, or name a teacher.":
            average and not keeps_average(args.device),
        f"'distill_module={own and own.text}' is no distiller; {derive}.": stranger,
        f"'distill_online=True' trains one teacher along, {teachers} is no such one; give one model.":
            config.online and (average or several),
    })  # fmt: skip
    if own:
        require_forward("distill_module", own, "targets")
    for term in config.terms:
        if term.spelled.cls in NAMED:  # a wrong value is found before anything is written; users' classes when built
            build_loss(term, config, channels=(8, 8))
    names = ["teacher.pt"] if len(given) == 1 else [f"teacher{i}.pt" for i in range(1, len(given) + 1)]
    side = longer_side(args.imgsz)
    sources = [resolve(t, trainer.wdir / n, c.imgsz or side) for t, n, c in zip(given, names, configs)]
    require_final_terms(configs, sources)
    require_kept(trainer, sources)
    for c, source in zip(configs, sources):
        if source.module is not None:
            check_preprocessing(c, source.module)
    if config.online:
        online.require_trainable(config, sources[0])
    args.model_t = [str(s.path) for s in sources] if len(sources) > 1 else str(sources[0].path)
    folder = Folder(trainer.save_dir, [s.path for s in sources if s.save])
    read_share(args)
    run = Run(configs, sources, config.schedule.cls(**config.schedule.params), folder, files=files_of(args))
    run.unlabeled_only = read_unlabeled_only(args, trainer.save_dir)
    if run.unlabeled_only:
        run.unlabeled_only.follow(trainer, args.unlabeled)
        config.check = config.check and run.unlabeled_only.validates
    return run


def build(trainer: BaseTrainer) -> None:
    """Build the distiller and the teacher, once the model is on its device, frozen, AMP-checked and not under DDP."""
    run = trainer.distill
    if run is None:
        return
    adapt(trainer)
    trainer.add_callback("teardown", put_back)
    run.step = build_step(trainer, run.configs, run.sources)
    unused_arguments.warn_of_skipped(trainer.args, run.configs, run.step.distiller)
    space_columns(trainer)
    count_in_auto_batch(trainer)
    if run.unlabeled_only:
        require_no_labels(run.step.distiller, run.configs[0])
        run.unlabeled_only.say()
    if files := run.files or files_of(trainer.args, trainer.data):
        run.unlabeled = Unlabeled(files, read_share(trainer.args), alone=run.unlabeled_only is not None)
        run.unlabeled.follow(trainer)
        if not run.unlabeled_only:
            require_images_alone(run.step.student)
    if run.unlabeled_only or not run.unlabeled:
        unused_arguments.warn_without_images(trainer.args)
    add_to_training_set(trainer)
    with CollectiveStep():
        save_teacher(trainer)  # as it is now: its owner may change it while the student learns


def begin(trainer: BaseTrainer, ckpt: dict[str, Any] | None) -> None:
    """Train what is beside the student, take up an interrupted run from its checkpoint, and look at the teacher.

    The trainer is set up: loaders, optimizer and EMA are there.
    """
    run, found = trainer.distill, []
    if run is not None:
        if run.step.online:
            online.share_class_weights(run.step.student, run.step.teacher)
        require_answers(trainer)
        run.optimizer = OwnOptimizer(trainer, run.step)
        if run.unlabeled and RANK in {-1, 0}:
            LOGGER.info(f"Distillation: {run.unlabeled.describe(trainer)}")
    if ckpt is not None and trainer.resume:
        restore(trainer, ckpt)
    elif run is not None:
        found = evaluate_teachers(trainer)
        summary.note_start(trainer)
    if run is not None:
        log_start(trainer, found)


def step(trainer: BaseTrainer, batch: dict[str, Any]) -> None:
    """Let the next loss that the student computes hold the terms; called with each prepared batch before its forward.

    A compiled student finds unlabelled images in the batch's `img` for one forward.
    """
    if trainer.distill is not None:
        begin_batch(trainer, batch)


def finish(trainer: BaseTrainer) -> None:
    """Save and validate an online teacher, where every process takes part, and write the report."""
    if trainer.distill and trainer.distill.step.online:
        online.save_and_validate(trainer)
    if trainer.distill:
        summary.write_after_training(trainer)


def csv_columns(trainer: BaseTrainer, metrics: dict[str, float]) -> dict[str, float]:
    """Return an epoch's row of `results.csv`, with the unweighted mean of every term's part and its pull added.

    Upstream makes a validation column for each training loss. No term is computed in validation, so these columns
    leave the row, and the trainer's metrics, which loggers read after this. Where the file's header is of a run in
    other terms, it is made to fit first.
    """
    if trainer.distill is None:
        fit_table(trainer, metrics)
        return metrics
    run, step = trainer.distill, trainer.distill.step
    if run.batch < 0:
        LOGGER.warning("'model_t' has taught nothing in this epoch: the trainer's own loop does not call distill.step.")
    elif step.armed:
        LOGGER.warning("'model_t' has taught nothing in this epoch: the model's forward(batch) does not call its loss.")
    run.begun = True
    run.folder.keep()
    never = {f"val/{name}" for name in step.columns}
    for name in never:
        trainer.metrics.pop(name, None)
    row = order_columns(metrics, step.columns)
    notes = {f"distill/{k}": v for k, v in step.distiller.notes().items()}
    weights = step.weights.take(trainer.epoch + 1, trainer.epochs)
    ours = {**step.take_means(), **notes, **weights}
    row = {**{k: v for k, v in row.items() if k not in never}, **ours}
    fit_table(trainer, row)
    return row


__all__ = (
    "attach", "begin", "build", "checkpoint", "csv_columns", "finish", "restore", "save_teacher", "spell_out", "step",
    "take_teacher", "torn_down", "unwrap_model",
)  # fmt: skip
