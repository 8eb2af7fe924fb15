# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Puts our patches into a tree of Ultralytics, takes them out, and keeps them: `patchset.py COMMAND --help`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from patching import PatchError, Repo, target, tree
from patching.check import check
from patching.refresh import refresh, release

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {  # what it does, and an example
    "apply": ("put the series into a tree, all of it or nothing", "--target ~/my-ultralytics --without join-launcher"),
    "revert": ("take the series out of a tree again, byte for byte", "--target ~/my-ultralytics"),
    "status": ("say how a tree stands, patch by patch", "--target ~/my-ultralytics"),
    "check": ("hold the series against the patch rules; needs no download", ""),
    "refresh": ("write the diffs of the patches as their changes make them, for the pin or a new one", "--to newest"),
    "release": ("raise our number, close the changelog's open part, and build the wheel into dist/", ""),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name, (text, example) in COMMANDS.items():
        shown = f"example: python scripts/patchset.py {name} {example}".rstrip()
        made[name] = commands.add_parser(name, help=f"{text}; {shown}", description=f"{text}.", epilog=shown)
    for name in ("apply", "revert", "status"):
        made[name].add_argument(
            "--target", type=Path, metavar="DIR", help="a checkout of your own (default: this repository's tree)"
        )
    add = made["apply"].add_argument
    add("--without", action="append", default=[], metavar="NAME", help="with --target: leave an optional patch out")
    add("--print", action="store_true", dest="show", help="with --target: show every line and its place, write nothing")
    add("--wheel", type=Path, metavar="FILE", help="this repository's tree: take this wheel in place of a download")
    add("--upstream", default="", metavar="VERSION", help="this repository's tree: another release than the pinned one")
    for name in ("apply", "refresh"):
        made[name].add_argument("--no-try", action="store_true", help="do not train two steps in the result first")
    made["refresh"].add_argument("--to", default="", metavar="VERSION", help="make this release the pin; or newest")
    made["refresh"].add_argument("--dry-run", action="store_true", help="only say whether it fits and trains")
    return parser


def run(args: argparse.Namespace, repo: Repo) -> int:
    """Carry out one command; return the exit code."""
    theirs = getattr(args, "target", None)
    theirs = theirs if theirs and theirs.resolve() != repo.root else None
    if args.command == "apply" and theirs:
        target.apply(repo, theirs, tuple(args.without), not args.no_try, show=args.show)
    elif args.command == "apply":
        if args.without or args.show:
            raise PatchError("--without and --print go with --target DIR: this repository's tree has the whole series.")
        tree.apply(repo, args.upstream, args.wheel)
    elif args.command == "revert":
        target.revert(repo, theirs) if theirs else tree.revert(repo)
    elif args.command == "status":
        word, lines = target.status(repo, theirs) if theirs else tree.status(repo)
        print(word, *(f"  {line}" for line in lines), sep="\n")
    elif args.command == "refresh":
        refresh(repo, args.to, not args.dry_run, not args.no_try)
    elif args.command == "release":
        release(repo)
    else:
        failures, summary = check(repo)
        print(*(f"error: {failure}" for failure in failures), summary, sep="\n")
        return int(bool(failures))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; a failure is one sentence and exit code 1."""
    args = make_parser().parse_args(argv)
    try:
        code = run(args, Repo(ROOT))
        sys.stdout.flush()
        return code
    except PatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, is gone; the interpreter would stumble over it once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
