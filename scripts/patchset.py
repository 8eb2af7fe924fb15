# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Fetches the pinned upstream wheel, applies our patches to a tree, takes them back, checks them, and refreshes them.

Usage:
    python scripts/patchset.py status
    python scripts/patchset.py COMMAND --help
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from patching import PatchError, Repo, target, tree
from patching.check import check
from patching.drop import drop
from patching.pin import choose_line, find_lines, read_pin
from patching.refresh import parse_pick, refresh
from patching.status import status, target_status
from patching.target import nearest_line
from patching.wheel import obtain

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "fetch": "get the pinned wheel, check its sha256, and unpack the upstream files that are missing",
    "apply": "apply the whole series, all of it or nothing: strictly to this repository's tree, by merge to yours",
    "revert": "take the series out of a tree again, byte for byte",
    "status": "say whether a tree is clean, applied, partly, drifted, foreign or empty, patch by patch",
    "check": "hold the series against the patch rules; needs no download and no installed package",
    "refresh": "turn edits of upstream files in this repository's tree into the patches they belong to",
    "drop": "take one patch out of the series, and move the later ones' hunks accordingly",
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=text, description=f"{text}.") for name, text in COMMANDS.items()}
    for name in made:
        made[name].add_argument(
            "--upstream",
            default=os.environ.get("DISTILL_UPSTREAM"),
            metavar="VERSION",
            help="which of the supported upstream lines (default: $DISTILL_UPSTREAM, else the pin; check: all of them)",
        )
    for name in ("apply", "revert", "status"):
        made[name].add_argument(
            "--target",
            type=Path,
            metavar="DIR",
            help="a checkout of your own, whatever its version and edits (default: this repository's tree)",
        )
    for name in ("fetch", "apply"):
        made[name].add_argument(
            "--wheel",
            type=Path,
            metavar="FILE",
            help="take this local wheel, its sha256 checked, instead of a download",
        )
    made["refresh"].add_argument(
        "--patch",
        metavar="NAME",
        help="patch that takes the edits near no other patch; a new name makes a new patch at the end of the series",
    )
    made["refresh"].add_argument(
        "--file",
        action="append",
        default=[],
        metavar="PATH[:FIRST[-LAST]]",
        help="with --patch: take only the edits in this file, or in these of its present lines; may be repeated",
    )
    made["drop"].add_argument("patch", metavar="NAME", help="file name of the patch")
    for name in ("apply", "revert"):
        made[name].add_argument("--dry-run", action="store_true", help="with --target: say what would go where")
    made["refresh"].add_argument("--dry-run", action="store_true", help="say which edit goes where, write nothing")
    return parser


def run(args: argparse.Namespace, repo: Repo) -> int:
    """Carry out one command.

    Args:
        args (argparse.Namespace): The parsed command line.
        repo (Repo): The patch repository.

    Returns:
        (int): Exit code.
    """
    if getattr(args, "wheel", None):
        obtain(repo, read_pin(repo.patches / "upstream.toml"), args.wheel)
    if args.command == "fetch":
        tree.unpack(repo, repo.root)
    elif args.command == "apply":
        require_target(args)
        tree.apply(repo, repo.root)
    elif args.command == "revert":
        require_target(args)
        tree.revert(repo, repo.root)
    elif args.command == "refresh":
        refresh(repo, args.patch, tuple(parse_pick(text) for text in args.file), write=not args.dry_run)
    elif args.command == "drop":
        drop(repo, args.patch)
    elif args.command == "status":
        show_status(*status(repo, repo.root))
    else:
        return run_check(list(find_lines(ROOT).values()) if args.upstream is None else [repo])
    return 0


def require_target(args: argparse.Namespace) -> None:
    """Refuse `--dry-run` on our own tree, where `status` tells the same."""
    if args.dry_run:
        raise PatchError("--dry-run goes with --target DIR: for this repository's own tree use `status`.")


def run_target(args: argparse.Namespace, repo: Repo) -> int:
    """Carry out one command on a user's own tree; return the exit code."""
    if args.command == "apply":
        target.apply(repo, args.target, write=not args.dry_run)
    elif args.command == "revert":
        target.revert(repo, args.target, write=not args.dry_run)
    else:
        show_status(*target_status(repo, args.target))
    return 0


def show_status(word: str, lines: list[str]) -> None:
    """Print how a tree stands."""
    print(word, *(f"  {line}" for line in lines), sep="\n")


def run_check(repos: list[Repo]) -> int:
    """Print what the static check finds in each line's series; return the exit code."""
    failed = False
    for repo in repos:
        failures, summary = check(repo)
        print(*(f"error: {failure}" for failure in failures), f"{repo.folder}: {summary}", sep="\n")
        failed = failed or bool(failures)
    return int(failed)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; a failure is one sentence and exit code 1.

    Args:
        argv (list[str], optional): Arguments without the program's name.

    Returns:
        (int): Exit code.
    """
    args = make_parser().parse_args(argv)
    theirs = getattr(args, "target", None)
    try:
        if theirs and theirs.resolve() != ROOT:
            return run_target(args, choose_line(ROOT, args.upstream) if args.upstream else nearest_line(ROOT, theirs))
        return run(args, choose_line(ROOT, args.upstream))
    except PatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
