# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""How a refused run ends on the command line: with the sentence alone; and where a user's own file went wrong."""

from __future__ import annotations

import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from ultralytics.utils import LOGGER, RANK

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

RESUME = "yolo train resume=True model="
OURS = str(Path(__file__).parents[1]) + os.sep
# Where a user's own files are not: the standard library, whose importlib is on the way, and installed packages.
NOT_THEIRS = (str(Path(__file__).parents[2]) + os.sep, sysconfig.get_paths()["stdlib"], str(importlib.__file__), "<")
ARGUMENT = re.compile(r"'\w+[=']")  # how a sentence about an argument begins
UNKNOWN = "is not a valid YOLO argument"  # how upstream names a misspelt argument


class TermError(RuntimeError):
    """A term returns what cannot be trained with."""


def reason(error: Exception) -> str:
    """Return what an error says, or its kind where it says nothing, as part of a sentence."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def explain(error: BaseException) -> str:
    """Return what an error in a user's file says, with its kind and its place, as the end of a sentence."""
    text = str(error.msg if isinstance(error, SyntaxError) else error) or "no reason given"
    text = text.splitlines()[0].rstrip(".")
    says = text if type(error) in {TypeError, ValueError} else f"{type(error).__name__}: {text}"
    return f"{says} ({found})" if (found := place(error)) else says


def place(error: BaseException) -> str:
    """Return where in a user's file an error arose, e.g. `mine.py, line 3`; nothing for one that arose elsewhere."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THEIRS)]
    theirs = [f for f in frames if "site-packages" not in f.filename] or frames
    return f"{theirs[-1].filename}, line {theirs[-1].lineno}" if theirs else ""


def is_user_error(error: BaseException | None) -> bool:
    """Whether an error is a sentence of ours about an argument or a term, and no fault in anybody's code."""
    if isinstance(error, TermError):
        return True
    frames = traceback.extract_tb(error.__traceback__) if isinstance(error, (ValueError, FileNotFoundError)) else []
    return bool(frames) and frames[-1].filename.startswith(OURS) and bool(ARGUMENT.match(str(error)))


def leave(error: object) -> NoReturn:
    """End the program with a sentence and the exit code for wrong arguments."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def log_resume_command(trainer: BaseTrainer | None) -> None:
    """Say after Ctrl-C what to type to go on, once."""
    if RANK not in {-1, 0} or getattr(trainer, "interrupted", False):
        return
    if trainer is None or not trainer.last.is_file():
        LOGGER.info("\nInterrupted; no epoch was completed.")
    elif trainer.stop:
        LOGGER.info(f"\nInterrupted after the last epoch; the weights are {trainer.last}")
    else:
        LOGGER.info(f"\nInterrupted; go on with: {getattr(trainer, 'resume_command', RESUME)}{trainer.last}")
    if trainer is not None:
        trainer.interrupted = True


class ExceptHook:
    """Shows what ends a `yolo` command that has a teacher: refusals as one sentence, Ctrl-C with how to go on."""

    def __init__(self, before: Callable[..., Any]):
        """Keep what shows other errors."""
        self.before = before
        self.trainer: BaseTrainer | None = None

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Show an error; `sys.excepthook`."""
        if is_user_error(error):
            leave(error)
        if isinstance(error, SyntaxError) and UNKNOWN in str(error):  # upstream's sentence about a misspelt name
            leave(str(error).strip())
        if isinstance(error, KeyboardInterrupt):
            log_resume_command(self.trainer)
            sys.exit(130)
        self.before(kind, error, trace)


def install_excepthook(trainer: BaseTrainer | None = None) -> None:
    """Let a refusal that ends a `yolo` command be its sentence alone; `YOLO_VERBOSE=true` shows where it came from.

    After Ctrl-C it says how to go on. Nothing is changed in a user's own program, and nothing for other errors.
    """
    if not _under_yolo() or os.getenv("YOLO_VERBOSE", "").lower() == "true":
        return
    if not isinstance(sys.excepthook, ExceptHook):
        sys.excepthook = ExceptHook(sys.excepthook)
    sys.excepthook.trainer = trainer or sys.excepthook.trainer


def _under_yolo() -> bool:
    """Whether the command line's entry point is what called."""
    from ultralytics.cfg import entrypoint

    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code is not entrypoint.__code__:
        frame = frame.f_back
    return frame is not None
