"""`python -m flows.champion`: the generation in use; approve one, go back to the one before, or fetch one's models."""

import argparse
import getpass
import os
import shutil
import sys
from pathlib import Path

from boig import tracking
from boig.registry import APPROVED_BY, FEED_NEWEST, GATE, PROMOTED_AT, Registry, Version
from flows.retrain import restore
from flows.stage import USER_MISTAKES
from flows.worktree import PAPERS

FETCHED = "GENERATION"
"""File that says which one a folder holds."""
MODELS = ("models/boigllm", "models/reward", "models/judge", "models/boigsd")


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.champion", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all generations, and which is in use")
    approve = commands.add_parser("approve", help="make a challenger that has passed the gate the champion")
    approve.add_argument("version", type=int)
    approve.add_argument("--by", help="who approves; by default the user")
    commands.add_parser("rollback", help="put the champion's predecessor back")
    fetch = commands.add_parser("fetch", help="a generation's models into a folder")
    fetch.add_argument("folder", type=Path)
    fetch.add_argument("--version", type=int, help="by default the champion")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    try:
        with tracking.answering():
            told = _done(asked, Registry(tracking.uri()))
    except USER_MISTAKES as error:
        print(f"champion: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(told)
    return 0


def _done(asked: argparse.Namespace, registry: Registry) -> str:
    """Do what is asked; what there is to tell."""
    if asked.command == "list":
        return listed(registry)
    if asked.command == "approve":
        return f"champion: {approved(registry, asked.version, asked.by or _user())}"
    if asked.command == "rollback":
        was, now = registry.rollback()
        return f"champion: version {now.number} is the champion again, in the place of {was.number}"
    return f"champion: {fetched(registry, asked.version, asked.folder)}"


def _user() -> str:
    """A container's user may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def approved(registry: Registry, number: int, by: str) -> str:
    """Promote a challenger that waits for approval.

    Raises:
        ValueError: there is none of that number, the gate has refused it, or the champion has changed since.
    """
    version = registry.version(number)
    if not version.passed:
        raise ValueError(f"version {number} has not passed the gate ({version.tags.get(GATE, 'it was never asked')})")
    registry.promote(version, by)
    return f"version {number} is the champion, approved by {by}"


def fetched(registry: Registry, number: int | None, folder: Path) -> str:
    """Restore the models of a generation.

    Raises:
        ValueError: there is no such generation, or the folder holds something else.
        FileNotFoundError: its models are neither in the cache nor in the remote.
    """
    version = registry.champion() if number is None else registry.version(number)
    if version is None:
        raise ValueError("there is no champion yet; retrain, and approve what waits (`python -m flows.champion list`)")
    if folder.exists() and any(folder.iterdir()) and not (folder / FETCHED).is_file():
        raise ValueError(f"{folder} is not empty, and no generation was fetched there before; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FETCHED).write_text("incomplete\n")  # before anything else is there: a try that fails can be made again
    _clear(folder)
    restore(Path.cwd(), version, MODELS, folder)
    (folder / FETCHED).write_text(f"version {version.number}, commit {version.commit}\n")
    return f"models of version {version.number} (commit {version.commit[:12]}) are in {folder}"


def _clear(folder: Path) -> None:
    """Remove what the generation before has left and this one may not have; nothing of the user's own."""
    for name in (*MODELS, "metrics"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (*PAPERS, "verdict.json"):
        (folder / name).unlink(missing_ok=True)


def listed(registry: Registry) -> str:
    """A line for each generation; a star before the champion."""
    champion = registry.champion()
    lines = [_line(version, version.number == (champion.number if champion else None)) for version in registry.versions()]
    return "\n".join(lines if champion else [*lines, "champion: there is none yet"])


def _line(version: Version, used: bool) -> str:
    tags = version.tags
    since = f", promoted {tags[PROMOTED_AT]} by {tags[APPROVED_BY]}" if tags.get(PROMOTED_AT) else ""
    return f"{'*' if used else ' '} {version.number:>3}  posts up to {tags.get(FEED_NEWEST, '?')[:10]}  {tags.get(GATE, '')}{since}"


if __name__ == "__main__":
    raise SystemExit(main())
