# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The arguments of a distilled run: read once from the trainer's namespace, checked, and made plain again."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ultralytics.distill import losses
from ultralytics.distill.balance import BALANCES, Ratio
from ultralytics.distill.schedule import SCHEDULES, Constant
from ultralytics.distill.spelling import Spelled, build_spelled, parse, require_forward, split_list
from ultralytics.distill.values import (
    choice,
    gains_of,
    image_size,
    is_auto,
    layer_pairs,
    number,
    numbers,
    plain,
    switch,
    whole,
)
from ultralytics.utils import DEFAULT_CFG_DICT

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# What `auto` means: terms and their gains. The feature term serves where predictions do not teach all classes.
RECIPE: dict[str, dict[str, float]] = {"feat": {"cwd": 1}, "rel": {}}
RESPONSES: dict[str, dict[str, float]] = {  # what it means for predictions, by task
    "detect": {"relative": 1, "ld": 4, "giou": 4},
    "segment": {"relative": 1, "ld": 4, "giou": 4, "mask": 1},
    "pose": {"relative": 1, "ld": 4, "giou": 4, "pose": 1},
    "obb": {"relative": 1, "probiou": 1},
    "classify": {"kl": 1},
    "semantic": {"cwdmap": 1},
    "depth": {"depth": 1},
}
WITHOUT_BINS = {"relative": "bckd"}  # what takes its place for a student whose boxes have no bins, as YOLO26's
NAMES = [k for k in DEFAULT_CFG_DICT if k.startswith("distill_") and k != "distill_model"]
ARGUMENTS = (*NAMES, "dfea", "dlogit", "drel", "dline", "unlabeled", "unlabeled_share")  # how a teacher teaches
KINDS = {  # kind of term: (its argument, the names it may have, its gain)
    "feat": ("distill_feat", losses.FEATURE, "dfea"),
    "logit": ("distill_logit", {**losses.RESPONSE, **losses.FINAL}, "dlogit"),
    "rel": ("distill_rel", losses.RELATION, "drel"),
}


@dataclass
class Term:
    """A loss and its gain.

    Attributes:
        kind (str): `feat`, `logit` or `rel`.
        spelled (Spelled): What to build.
        gain (float): Multiplier on the loss's own scale.
        auto (bool): Whether the recipe chose it; such a term is left out, with a line, where it cannot be used.
    """

    kind: str
    spelled: Spelled
    gain: float = 1.0
    auto: bool = False


@dataclass
class Config:
    """What a run distils, read from the trainer's arguments.

    Attributes:
        terms (list[Term]): Feature, response and relation terms in that order.
        layers (str | list): `auto`, or (student, teacher) index pairs.
        tau (float | None): Temperature for the terms that have one; None keeps each loss's own.
        alpha (float): Share of soft against hard targets in response terms, 0 to 1.
        schedule (Spelled): The weight over the run.
        stop (int): Epochs from the end without distillation.
        balance (Spelled | None): What keeps the terms at a share of the task loss.
        module (Spelled | None): A user's own distiller in place of the terms.
        online (bool): Whether the teacher trains too.
        dline (float): Gain of the online teacher's own task loss.
        check (bool): Whether the teacher is measured before the first epoch.
        single_cls (bool): Whether the student's one class stands for all objects.
        classes (list[int] | None): Classes that are trained, if not all.
        precision (str): `auto`, `fp32`, `bf16` or `fp16` for the teacher's forward.
        imgsz (int | tuple[int, int] | None): The teacher's own image size: longer side, or height and width, in pixels.
        mean (list[float] | None): Subtracted from the teacher's images, one number or one a channel.
        std (list[float] | None): What they are divided by after that.
        data (str): The run's data and image size as a command line has them, for messages.
    """

    terms: list[Term] = field(default_factory=list)
    layers: str | list = "auto"
    tau: float | None = None
    alpha: float = 1.0
    schedule: Spelled = field(default_factory=lambda: parse("distill_schedule", "constant", SCHEDULES))
    stop: int = 0
    balance: Spelled | None = None
    precision: str = "auto"
    module: Spelled | None = None
    online: bool = False
    dline: float = 1.0
    check: bool = True
    single_cls: bool = False
    classes: list[int] | None = None
    imgsz: int | tuple[int, int] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    data: str = ""

    @property
    def columns(self) -> list[str]:
        """Names of the loss columns in use, e.g. `["dfea_loss", "dlogit_loss"]`."""
        names = [KINDS[k][2] for k in KINDS if any(t.kind == k for t in self.terms)]
        return [f"{name}_loss" for name in names + ["dline"] * self.online]


def read(args: SimpleNamespace) -> Config:
    """Read and check the distillation arguments; leaves plain, reloadable values in `args`.

    Args:
        args (SimpleNamespace): The trainer's arguments.

    Returns:
        (Config): The checked configuration.

    Raises:
        ValueError: With one sentence that names the argument, the value and what would do.
    """
    vars(args).update({k: plain(v) for k, v in vars(args).items() if k in ARGUMENTS})
    module = None
    if args.distill_module is not None:
        module = parse("distill_module", args.distill_module, {})
        if module.instance is not None:
            raise ValueError(
                f"'distill_module={module.name}(...)' is an instance; give the class or its '{module.text}'."
            )
        args.distill_module = module.text
    terms = [t for kind in KINDS for t in _terms(args, kind)]
    if not terms and module is None:
        raise ValueError(
            f"'model_t={args.model_t}' is given, but 'distill_feat', 'distill_logit' and 'distill_rel' are all 'none'; "
            f"leave one of them at 'auto' or name a loss."
        )
    if terms and module is None and not any(t.gain for t in terms):
        gains = " and ".join(
            f"'{g}={getattr(args, g)}'" for k, (_, _, g) in KINDS.items() if k in {t.kind for t in terms}
        )
        raise ValueError(f"{gains} leave nothing to distil; give a gain above 0, or train without 'model_t'.")
    terms = [t for t in terms if t.gain or not t.auto]
    schedule = parse("distill_schedule", args.distill_schedule, SCHEDULES, base=Constant)
    balance = [parse("distill_balance", x, BALANCES, base=Ratio) for x in split_list(args.distill_balance)]
    if len(balance) > 1:
        raise ValueError(f"'distill_balance={args.distill_balance}' are several; give one of them.")
    build_spelled("distill_schedule", schedule)
    for rule in balance:
        build_spelled("distill_balance", rule)
    return Config(
        terms=terms,
        layers=layer_pairs("distill_layers", args.distill_layers),
        tau=None if is_auto(args.distill_tau) else number("distill_tau", args.distill_tau, above=0),
        alpha=number("distill_alpha", args.distill_alpha, least=0, most=1),
        schedule=schedule,
        stop=_stop(args),
        balance=balance[0] if balance else None,
        precision=choice("distill_precision", args.distill_precision, PRECISIONS),
        module=module,
        online=switch("distill_online", args.distill_online),
        dline=number("dline", args.dline, least=0),
        imgsz=image_size("distill_imgsz", args.distill_imgsz),
        mean=numbers("distill_mean", args.distill_mean, least=0, most=1),
        std=numbers("distill_std", args.distill_std, above=0),
        check=switch("distill_check", args.distill_check),
        single_cls=bool(args.single_cls),
        classes=[args.classes] if isinstance(args.classes, int) else args.classes,
        data=f"data={args.data} imgsz={args.imgsz}",
    )


def _stop(args: SimpleNamespace) -> int:
    """Read `distill_stop`, which has to leave an epoch to the teacher."""
    stop = whole("distill_stop", args.distill_stop)
    if stop and stop >= args.epochs and not args.time:  # `time=` decides on the way how many epochs there are
        raise ValueError(f"'distill_stop={stop}' leaves the teacher none of 'epochs={args.epochs}'; give fewer.")
    return stop


def _terms(args: SimpleNamespace, kind: str) -> list[Term]:
    """Read one kind of term with its gains; `auto` in a list is the recipe beside what is named."""
    argument, names, gain_name = KINDS[kind]
    value = getattr(args, argument)
    recipe = RESPONSES.get(args.task, {}) if kind == "logit" else RECIPE[kind]
    items = split_list(value)
    terms, texts = [], []
    for item, gain in zip(items, gains_of(argument, value, gain_name, getattr(args, gain_name))):
        if is_auto(item):
            texts.append("auto")
            terms += [Term(kind, parse(argument, name, names), gain * own, True) for name, own in recipe.items()]
            continue
        _require_kind(argument, item, names)
        spelled = parse(argument, item, names)
        require_forward(argument, spelled)
        texts.append(spelled.text)
        terms.append(Term(kind, spelled, gain))
    if texts.count("auto") > 1:
        raise ValueError(f"'{argument}={value}' names auto twice; name it once.")
    if any(not isinstance(x, str) for x in items):
        setattr(args, argument, texts if isinstance(value, (list, tuple)) else texts[0])  # no live object in args
    return without_doubles(terms)


def without_doubles(terms: list[Term]) -> list[Term]:
    """Leave out the recipe's terms that are named too, with parameters or a gain of their own."""
    named = {t.spelled.cls for t in terms if not t.auto}
    return [t for t in terms if not (t.auto and t.spelled.cls in named)]


def _require_kind(argument: str, item: Any, names: Any) -> None:
    """Raise a ValueError that names the right argument if a loss is of another kind."""
    head = item.partition("(")[0].strip().lower() if isinstance(item, str) else ""
    words = {"feat": "feature", "logit": "response", "rel": "relation"}
    for kind, (other, known, _) in KINDS.items():
        if head in known and head not in names:
            raise ValueError(f"'{argument}={item}' is a {words[kind]} term; give it in '{other}'.")
