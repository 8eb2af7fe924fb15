# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Arguments that do nothing in this run: said in one warning, before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from torch import nn

from ultralytics.distill.config import ARGUMENTS, KINDS, Config
from ultralytics.distill.spelling import parameters_of
from ultralytics.distill.upstream import INT8, missing_packages
from ultralytics.distill.values import is_auto, plain
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, RANK


def warn_without_teacher(args: SimpleNamespace) -> None:
    """Warn of what is given for a teacher where there is none."""
    asked, model = _given(args, ARGUMENTS), plain(getattr(args, "model_t", None))
    off = model is None or model is False or str(model).strip().lower() == "none"  # and not an empty list or text
    if RANK not in {-1, 0} or (off and not asked):
        return
    why = "give one in 'model_t'" if off else f"'model_t={model}' names none"
    if asked:
        has = "has" if len(asked) == 1 else "have"
        LOGGER.warning(f"{', '.join(asked)} {has} no effect without a teacher; {why}.")
    else:
        LOGGER.warning(f"{why}: no teacher, so this is plain training.")


def warn_without_images(args: SimpleNamespace) -> None:
    """Warn of a share that is given for unlabelled images where there are none, or none but these."""
    if (asked := _given(args, ("unlabeled_share",))) and RANK in {-1, 0}:
        kind = "labelled images" if args.unlabeled else "unlabelled images, which 'unlabeled' names"
        LOGGER.warning(f"{asked[0]} has no effect without {kind}.")


def warn_beside_teacher(args: SimpleNamespace, configs: Sequence[Config]) -> None:
    """Warn of what is given for terms that are not there, and of upstream's arguments that look like ours."""
    said = [] if configs[0].module else _without_term(args, [t for c in configs for t in c.terms])
    if not configs[0].online:
        said += [f"{x} is for 'distill_online=True'" for x in _given(args, ("dline",))]
    if configs[0].int8:
        said += _without_int8(args)
    if args.task != "depth":
        said += [f"{x} is a depth model's own; did you mean 'dlogit'?" for x in _given(args, ("dlog",))]
    said += [f"{x} is for 'distill_model'; 'model_t' has 'dfea', 'dlogit' and 'drel'" for x in _given(args, ("dis",))]
    if said and RANK in {-1, 0}:
        LOGGER.warning(f"Arguments that do nothing here: {'; '.join(said)}.")


def warn_of_skipped(args: SimpleNamespace, configs: Sequence[Config], distiller: nn.Module) -> None:
    """Warn of a gain, temperature or share of soft targets for terms of the recipe which were skipped."""
    asked = [t.spelled.cls for c in configs for t in c.terms]
    built = [type(x) for m in distiller.modules() for x in getattr(m, "losses", ())]
    said = []
    for name in ("tau", "alpha"):
        if any(_takes(x, name) for x in asked) and not any(_takes(x, name) for x in built):
            said += [
                f"{x} reaches none of the terms that fit the two models" for x in _given(args, (f"distill_{name}",))
            ]
    kinds = {t.kind for c in configs for t in c.terms}, {getattr(m, "kind", None) for m in distiller.modules()}
    if "logit" in kinds[0] - kinds[1]:  # skipped feature terms say so themselves
        said += [f"{x} reaches none of the terms that fit the two models" for x in _given(args, ("dlogit",))]
    if said and not configs[0].module and RANK in {-1, 0}:
        LOGGER.warning(f"Arguments that do nothing here: {'; '.join(said)}.")


def _takes(loss: type, name: str) -> bool:
    """Whether a loss has a parameter of a name."""
    return name in (parameters_of(loss) or ())


def _without_term(args: SimpleNamespace, terms: Sequence) -> list[str]:
    """Return what is given for terms that none is there for."""
    said = []
    for kind, (argument, gain) in KINDS.items():
        if not any(t.kind == kind for t in terms) and getattr(args, gain) != 0:
            said += [f"{x} has no term in '{argument}={getattr(args, argument)}'" for x in _given(args, (gain,))]
    if all(t.kind == "logit" for t in terms):
        said += [f"{x} is for feature and relation terms" for x in _given(args, ("distill_layers",))]
    for name in ("tau", "alpha"):
        if not any(_takes(t.spelled.cls, name) for t in terms):
            said += [f"{x} reaches none of the terms" for x in _given(args, (f"distill_{name}",))]
    return said


def _without_int8(args: SimpleNamespace) -> list[str]:
    """Return why an INT8 export that is asked for will not be measured, if it will not."""
    if not args.plots:
        return ["'distill_int8=True' is for the report at the end, which 'plots=False' leaves out"]
    absent = missing_packages(INT8.packages)
    return [f"'distill_int8=True' needs packages, pip install {' '.join(absent)}"] if absent else []


def _given(args: SimpleNamespace, names: Sequence[str]) -> list[str]:
    """Return as `'name=value'` the arguments that are not at their defaults."""
    found = []
    for name in names:
        default = DEFAULT_CFG_DICT.get(name)
        value = plain(getattr(args, name, default))
        if value != default and not (is_auto(value) and is_auto(default)):
            found.append(f"'{name}={value}'")
    return found
