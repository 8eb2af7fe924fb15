# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""`python distill.py answers model_t=best.pt data=my.yaml`: a teacher's answers are written once."""

from __future__ import annotations

from inspect import signature

from ultralytics.distill.runtime.errors import leave
from ultralytics.distill.script.command import read_line
from ultralytics.distill.teacher.write_answers import write_answers
from ultralytics.utils import LOGGER


def answer(line: list[str]) -> None:
    """Write a file of answers as a command line says."""
    args, known = read_line(line), list(signature(write_answers).parameters)
    try:
        if unknown := [k for k in args if k not in known]:
            raise ValueError(f"'{unknown[0]}' is no argument of answers; it takes {', '.join(known)}.")
        for name in ("model_t", "data"):
            if not args.get(name):
                raise ValueError(f"'{name}' is missing: python distill.py answers model_t=best.pt data=my.yaml.")
        path = write_answers(**args)
    except (ValueError, TypeError, FileNotFoundError) as e:
        leave(e)
    except KeyboardInterrupt:
        LOGGER.info("\nInterrupted; the same line goes on from here.")
        raise SystemExit(130) from None
    LOGGER.info(f"Answers written to {path}; train with model_t={path}")
