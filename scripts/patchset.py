# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Carries our patches: over the pinned upstream, into trees of one's own, and on to other releases.

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
from patching.drift import drift
from patching.drop import drop
from patching.pin import choose_line, find_lines, read_pin
from patching.port import make_port, report, require_release, try_out, write
from patching.refresh import parse_pick, refresh
from patching.release import release
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
    "port": "try the series on another release, strictly, then by merge, and run the smoke test on the result",
    "drift": "port to each of several releases, and draw a table and a picture",
    "release": "raise our number, close the changelog's open part, and build the wheel into dist/",
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
    made["port"].add_argument("version", metavar="VERSION", help="the release, or newest")
    made["port"].add_argument("--write", action="store_true", help="make the ported series the series, and it the pin")
    made["drift"].add_argument("version", nargs="+", metavar="VERSION", help="the releases; newest may be among them")
    made["drift"].add_argument(
        "--out", type=Path, default=ROOT / "docs/results", metavar="DIR", help="where drift.md and drift.png go"
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
    elif args.command == "port":
        return run_port(args, repo)
    elif args.command == "drift":
        drift(repo, [require_release(version) for version in args.version], args.out)
    elif args.command == "release":
        release(repo.root)
    elif args.command == "status":
        show_status(*status(repo, repo.root))
    else:
        return run_check(list(find_lines(ROOT).values()) if args.upstream is None else [repo])
    return 0


def run_port(args: argparse.Namespace, repo: Repo) -> int:
    """Port the series to another release; return 0 when no hand is needed."""
    port = make_port(repo, require_release(args.version))
    report(port)
    if port.needs_a_hand or not try_out(port):
        print(f"a hand is needed for {port.pin.version}: see docs/maintaining.md")
        return 1
    if args.write:
        write(port)
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
            repo = choose_line(ROOT, args.upstream) if args.upstream else nearest_line(ROOT, theirs)
            code = run_target(args, repo)
        else:
            code = run(args, choose_line(ROOT, args.upstream))
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
