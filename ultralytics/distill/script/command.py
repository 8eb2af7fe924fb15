# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""What `distill.py` needs around its trainings: the command line, early checks, threads, and the weights they left."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics.cfg import get_cfg, merge_equals_args, parse_key_value_pair
from ultralytics.distill.arguments import read
from ultralytics.distill.config import ARGUMENTS
from ultralytics.distill.runtime.errors import is_user_error, leave, log_resume_command, reason
from ultralytics.distill.spelling import accept_old_names
from ultralytics.distill.upstream import load_yaml
from ultralytics.utils import DEFAULT_CFG_PATH, LOGGER
from ultralytics.utils.checks import check_yaml

if TYPE_CHECKING:
    from ultralytics import YOLO
    from ultralytics.engine.trainer import BaseTrainer


def usage(script: Path) -> str:
    """Return what a script is for, its own arguments, and those of the distillation, each with its comment.

    Its own stand in a dictionary `ARGS`, one commented line an argument.
    """
    text = script.read_text(encoding="utf-8")
    table = text.partition("ARGS = {")[2].partition("\n}")[0]
    own = re.findall(r'"(\w+)": "?(.+?)"?,  # (.+)', table)
    commented = re.findall(r"^(\w+): *(.*?) *# (.+)$", DEFAULT_CFG_PATH.read_text(encoding="utf-8"), re.M)
    ours = [x for x in commented if x[0] in ARGUMENTS]
    width = max(len(f"{name}={value}") for name, value, _ in (*own, *ours))
    lists = ["\n".join(f"  {f'{n}={v}':<{width}}  {says}" for n, v, says in x) for x in (own, ours)]
    says = ast.get_docstring(ast.parse(text)) or ""
    more = "Any other argument of Ultralytics may be given too: yolo cfg"
    return f"{says}\n\nArguments:\n{lists[0]}\n\nArguments of the distillation:\n{lists[1]}\n\n{more}"


def read_line(line: list[str]) -> dict[str, Any]:
    """Read `key=value` arguments as upstream's command line does; those of a `cfg=FILE` stand behind the others."""
    try:
        given: dict[str, Any] = {}
        for item in merge_equals_args(line):
            if "=" not in item:
                raise SyntaxError(f"'{item}' is not of the form key=value.")
            given.update([parse_key_value_pair(item.lstrip("-"))])
        if file := given.pop("cfg", None):
            of_run = {"cfg", "mode", "save_dir"}  # in the args.yaml of a run, which may be given as it is
            given = {**{k: v for k, v in load_yaml(check_yaml(file)).items() if k not in of_run}, **given}
        return accept_old_names(given)
    except (SyntaxError, ValueError, AssertionError, FileNotFoundError) as e:
        leave(e)


def check(distilled: dict[str, Any], *others: dict[str, Any]) -> None:
    """Leave with one sentence if arguments would be refused, before the first of several trainings has begun."""
    try:
        for args in others:
            get_cfg(overrides=args)
        read(get_cfg(overrides={**distilled, "model_t": distilled.get("model_t") or "teacher.pt"}))
    except (SyntaxError, ValueError, TypeError) as e:
        leave(e)


def without_teacher(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a training without teacher: those that are for one would only be warned about."""
    return {k: v for k, v in args.items() if k not in {"model_t", *ARGUMENTS}}


def use_threads(asked: str | None) -> None:
    """Let torch use as many CPU threads as `OMP_NUM_THREADS` says; upstream always takes all cores but one.

    That one core is best left alone: with a thread on each, any other process makes every thread wait for the last.
    What was asked is the variable's value before upstream was imported, which sets it.
    """
    from ultralytics.utils import torch_utils

    if asked and asked.isdigit() and int(asked) > 0:
        torch_utils.NUM_THREADS = int(asked)


@contextmanager
def interruptible(model: YOLO) -> Iterator[None]:
    """Let a training end the script with a sentence: a refused argument, or after Ctrl-C how to go on."""

    def set_resume_command(trainer: BaseTrainer) -> None:
        if trainer.distill:
            trainer.resume_command = "python distill.py resume="

    model.add_callback("on_pretrain_routine_start", set_resume_command)
    try:
        yield
    except KeyboardInterrupt:
        log_resume_command(model.trainer)
        sys.exit(130)
    except (ValueError, RuntimeError, FileNotFoundError) as e:
        if not is_user_error(e):
            raise
        leave(e)


def answer(line: list[str]) -> None:
    """Write a file of answers as `python distill.py answers model_t=best.pt data=my.yaml` says."""
    from ultralytics.distill.teacher.write_answers import write_answers  # which no other command needs

    args, known = read_line(line), list(signature(write_answers).parameters)
    try:
        if unknown := [k for k in args if k not in known]:
            raise ValueError(f"'{unknown[0]}' is no argument of answers; it takes {', '.join(known)}.")
        for name in ("model_t", "data"):
            if not args.get(name):
                raise ValueError(f"'{name}' is missing: python distill.py answers model_t=best.pt data=my.yaml.")
        path = write_answers(**args)
    except (ValueError, TypeError, OSError) as e:
        leave(reason(e) + ".")
    except KeyboardInterrupt:
        LOGGER.info("\nInterrupted; the same line goes on from here.")
        raise SystemExit(130) from None
    LOGGER.info(f"Answers written to {path}; train with model_t={path}")


def best(model: YOLO) -> Path:
    """Return the weights that a training left: `best.pt`, or `last.pt` where nothing was validated."""
    trainer = model.trainer
    return trainer.best if trainer.best.is_file() else trainer.last


def teachers(model: YOLO) -> dict[str, Path]:
    """Return the trained teachers of a distilled run by name; one that has no checkpoint is left out."""
    value = model.trainer.args.model_t
    files = [Path(x) for x in (value if isinstance(value, list) else [value]) if str(x).endswith(".pt")]
    return {f"teacher {i + 1}" if len(files) > 1 else "teacher": f for i, f in enumerate(files) if f.is_file()}
