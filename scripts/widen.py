"""Makes a trained model twice as wide without changing what it says: a larger teacher that starts from what was learnt.

    python scripts/widen.py yolov8n.pt wide.pt
    yolo train model=wide.pt data=my.yaml epochs=100

Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016, arXiv 1511.05641: a wider
layer repeats its channels, and what reads them splits its weight between the copies, in random shares, so that they
learn apart. Channel i of the wide layer is channel i * old // new, so joining and splitting maps needs no bookkeeping.
Both models are compared before the wide one is saved. Attention is that of YOLO11 and YOLO26.
"""

from __future__ import annotations

import argparse
import sys
from copy import deepcopy

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ultralytics import __version__
from ultralytics.distill.runtime.checkpoints import save_whole
from ultralytics.distill.upstream import load_checkpoint
from ultralytics.nn.modules.block import Attention

CLOSE = 1e-4  # of the largest number of each output, in 32 bits


def widen(model: nn.Module) -> nn.Module:
    """Return a model of twice the width that says the same as one of upstream's that was built from a YAML.

    Raises:
        ValueError: If the wide one does not say the same, since it has layers of another kind or width.
    """
    cfg = deepcopy(model.yaml)
    if scale := cfg.get("scale") or next(iter(cfg.get("scales") or {}), None):
        depth, width, most = cfg["scales"][scale]
        cfg["scales"][scale] = [depth, 2 * width, most]
    else:
        cfg["width_multiple"] = 2 * cfg.get("width_multiple", 1.0)
    old = deepcopy(model).float().eval()
    new = type(model)(cfg, ch=cfg.get("channels", 3), nc=cfg["nc"], verbose=False).float().eval()
    new.names, new.stride, new.args = model.names, model.stride, model.args
    generator, given = torch.Generator().manual_seed(0), dict(old.named_modules())
    try:
        with torch.no_grad():
            for name, module in new.named_modules():
                _fill(given[name], module, generator)
            for name, module in new.named_modules():  # behind its layers
                if isinstance(module, Attention):
                    _fill_attention(given[name], module, generator)
            image = torch.rand(2, cfg.get("channels", 3), 64, 96, generator=generator)
            pairs = list(zip(*(tree_leaves(m(image)) for m in (old, new))))
    except (KeyError, RuntimeError) as e:
        raise ValueError(f"its layers cannot be widened: {e}") from e
    worst = max((a - b).abs().max() / a.abs().max() for a, b in pairs if a.shape == b.shape)  # but for inner maps
    if worst > CLOSE:
        raise ValueError(f"twice as wide it would say something else, by {worst:.1%} of its largest output")
    return new


def repeat(old: int, new: int) -> torch.Tensor:
    """Return for each of a wide layer's channels the one that it repeats."""
    return torch.arange(new) * old // new


def _fill(old: nn.Module, new: nn.Module, generator: torch.Generator, rows: torch.Tensor | None = None) -> None:
    """Give a layer the weights of the narrow one, its outputs repeated (as `rows` says) and its inputs shared out."""
    turned = isinstance(new, nn.ConvTranspose2d)  # weights (in, out, ...)
    wide = {**dict(new.named_parameters(recurse=False)), **dict(new.named_buffers(recurse=False))}
    for name, value in (*old.named_parameters(recurse=False), *old.named_buffers(recurse=False)):
        x, target = (v.transpose(0, 1) if turned and v.ndim > 1 else v for v in (value, wide[name]))
        if x.ndim:
            x = x[repeat(len(x), len(target)) if rows is None else rows]
        if x.ndim > 1:
            source = repeat(x.shape[1], target.shape[1])
            share = torch.rand(len(x), len(source), generator=generator) + 0.5
            sums = torch.zeros(x.shape[:2]).index_add_(1, source, share)
            x = x[:, source] * (share / sums[:, source]).view(*share.shape, *[1] * (x.ndim - 2))
        target.copy_(x)


def _fill_attention(old: Attention, new: Attention, generator: torch.Generator) -> None:
    """Give each head of an attention the queries and keys of the head that it repeats, and its part of the values."""
    rows, factor = [], []
    keys, values = repeat(old.key_dim, new.key_dim), repeat(old.pe.conv.out_channels, new.pe.conv.out_channels)
    width = 2 * old.key_dim + old.head_dim
    query = old.scale / new.scale * old.key_dim / new.key_dim  # so that products of longer keys weigh the same
    for head, value in zip(repeat(old.num_heads, new.num_heads), values.split(new.head_dim)):
        where = value // old.head_dim * width + 2 * old.key_dim + value % old.head_dim
        rows += [head * width + keys, head * width + old.key_dim + keys, where]
        factor += [torch.full((len(keys),), query), torch.ones(len(keys) + len(where))]
    for a, b in ((old.qkv.conv, new.qkv.conv), (old.qkv.bn, new.qkv.bn)):
        _fill(a, b, generator, torch.cat(rows))
    for x in (new.qkv.bn.weight, new.qkv.bn.bias):
        x.mul_(torch.cat(factor))


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("given", help="trained checkpoint")
    parser.add_argument("wide", help="where the wide one goes")
    options = parser.parse_args(argv)
    model, found = load_checkpoint(options.given)
    try:
        wide = widen(model)
    except ValueError as e:
        sys.exit(f"error: {options.given}: {e}")
    facts = {"epoch": -1, "model": wide.half(), "ema": None, "train_args": found["train_args"], "version": __version__}
    save_whole(facts, options.wide)
    count = [sum(p.numel() for p in m.parameters()) for m in (model, wide)]
    print(f"{options.wide}: {count[1]:,} parameters, from {count[0]:,}")


if __name__ == "__main__":
    main()
