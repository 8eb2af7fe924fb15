# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""The arguments of a distilled run: read once from the trainer's namespace, checked, and made plain again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ultralytics.distill import losses, values
from ultralytics.distill.balance import BALANCES, Ratio
from ultralytics.distill.config import ARGUMENTS, KINDS, RECIPE, RESPONSES, Config, Term, without_doubles
from ultralytics.distill.schedule import SCHEDULES, Constant
from ultralytics.distill.spelling import build_spelled, parse, require_forward, split_list

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LOSSES = {"feat": losses.FEATURE, "logit": {**losses.RESPONSE, **losses.FINAL}, "rel": losses.RELATION}


def read(args: SimpleNamespace) -> Config:
    """Read and check the distillation arguments; leaves plain, reloadable values in `args`.

    Raises:
        ValueError: With one sentence that names the argument, the value and what would do.
    """
    vars(args).update({k: values.plain(v) for k, v in vars(args).items() if k in ARGUMENTS})
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
            f"'model_t={values.shown(args.model_t)}' is given, but 'distill_feat', 'distill_logit' and 'distill_rel' "
            f"are all 'none'; leave one of them at 'auto' or name a loss."
        )
    if terms and module is None and not any(t.gain for t in terms):
        gains = " and ".join(
            f"'{x.gain}={getattr(args, x.gain)}'" for k, x in KINDS.items() if k in {t.kind for t in terms}
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
        layers=values.layer_pairs("distill_layers", args.distill_layers),
        tau=None if values.is_auto(args.distill_tau) else values.number("distill_tau", args.distill_tau, above=0),
        alpha=values.number("distill_alpha", args.distill_alpha, least=0, most=1),
        schedule=schedule,
        stop=_stop(args),
        balance=balance[0] if balance else None,
        precision=values.choice("distill_precision", args.distill_precision, PRECISIONS),
        module=module,
        online=values.switch("distill_online", args.distill_online),
        dline=values.number("dline", args.dline, least=0),
        imgsz=values.image_size("distill_imgsz", args.distill_imgsz),
        mean=values.numbers("distill_mean", args.distill_mean, least=0, most=1),
        std=values.numbers("distill_std", args.distill_std, above=0),
        check=values.switch("distill_check", args.distill_check),
        int8=values.switch("distill_int8", args.distill_int8),
        single_cls=bool(args.single_cls),
        classes=[args.classes] if isinstance(args.classes, int) else args.classes,
        data=f"data={args.data} imgsz={args.imgsz}",
    )


def _stop(args: SimpleNamespace) -> int:
    """Read `distill_stop`, which has to leave an epoch to the teacher."""
    stop = values.whole("distill_stop", args.distill_stop)
    if stop and stop >= args.epochs and not args.time:  # `time=` decides on the way how many epochs there are
        raise ValueError(f"'distill_stop={stop}' leaves the teacher none of 'epochs={args.epochs}'; give fewer.")
    return stop


def _terms(args: SimpleNamespace, kind: str) -> list[Term]:
    """Read one kind of term with its gains; `auto` in a list is the recipe beside what is named."""
    (argument, gain_name), names = KINDS[kind], LOSSES[kind]
    value = getattr(args, argument)
    recipe = RESPONSES.get(args.task, {}) if kind == "logit" else RECIPE[kind]
    items = split_list(value)
    terms, texts = [], []
    for item, gain in zip(items, values.gains_of(argument, value, gain_name, getattr(args, gain_name))):
        if values.is_auto(item):
            texts.append("auto")
            terms += [Term(kind, parse(argument, name, names), gain * own, True, own) for name, own in recipe.items()]
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


def _require_kind(argument: str, item: Any, names: Any) -> None:
    """Raise a ValueError that names the right argument if a loss is of another kind."""
    head = item.partition("(")[0].strip().lower() if isinstance(item, str) else ""
    words = {"feat": "feature", "logit": "response", "rel": "relation"}
    for kind, known in LOSSES.items():
        if head in known and head not in names:
            raise ValueError(f"'{argument}={item}' is a {words[kind]} term; give it in '{KINDS[kind].argument}'.")
