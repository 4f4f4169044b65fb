"""`python -m infra.stack up|down|status|env`: the local stack."""

import os
import sys
import time
from pathlib import Path

import typer
from tqdm import tqdm

from boig.store import ensure_buckets
from infra.stack import database, launch, ports, supervisor
from infra.stack import keys as secrets
from infra.stack.services import Service, clear_ray, environment, prepare, services
from infra.stack.settings import Stack, load

UP_S = 180.0
"""A slow machine with cold caches takes a minute and a half."""
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def up() -> None:
    """Start what is not running, wait until all of it is well, make buckets and the work pool. Safe to call again."""
    stack = load()
    keys = secrets.ensure(stack.folder)
    parts = services(stack, keys)
    begun = time.monotonic()
    if not supervisor.running(stack):
        for name in parts:
            launch.end_leftovers(stack, name)
        if told := ports.taken(stack):
            raise ConnectionError(f"ports are taken: {told}; {ports.MEND}")
        database.check()
        prepare(stack, keys)
        supervisor.start(stack, parts)
    _wait(stack, parts)
    ensure_buckets(stack.url("s3"), *keys.s3["admin"], stack.buckets.model_dump().values())
    print(f"stack: up in {time.monotonic() - begun:.0f} s; `. {_shown(stack.folder)}/env` for its clients")
    if os.environ.get(database.SETTING):
        print(f"  MLflow's runs are in {database.shown(stack)}; start the stack with the same {database.SETTING} again")
    _table(stack, parts)


@app.command()
def down() -> None:
    """Stop all of it. Data, runs and keys stay in the stack's folder."""
    stack = load()
    was = supervisor.stop(stack)
    if stack.folder.is_dir():
        for name in services(stack, secrets.ensure(stack.folder)):
            launch.end_leftovers(stack, name)
        clear_ray(stack)
    print("stack: stopped" if was else "stack: was not running")


@app.command()
def status() -> None:
    """What runs, since when, with how much memory."""
    stack = load()
    if not supervisor.running(stack):
        raise ConnectionError("the stack is down; `make stack` starts it")
    _table(stack, services(stack, secrets.ensure(stack.folder)))


@app.command()
def env() -> None:
    """The environment of the stack's clients, as shell exports: `eval "$(python -m infra.stack env)"`. Holds secrets."""
    stack = load()
    for name, value in environment(stack, secrets.ensure(stack.folder)).items():
        print(f"export {name}={value!r}")


def _wait(stack: Stack, parts: dict[str, Service]) -> None:
    """Wait until all parts are well.

    Raises:
        ConnectionError: one is not, in time; with the end of its log.
    """
    end, missing = time.monotonic() + UP_S, dict(parts)
    with tqdm(total=len(parts), desc="stack", unit="part", leave=False, disable=None) as bar:  # None: no bar into a file
        while missing and time.monotonic() < end:
            states = supervisor.states(stack)
            for name, part in list(missing.items()):
                if supervisor.is_well(part, states.get(name, {})):
                    del missing[name]
                    bar.update()
            bar.set_postfix_str("waiting for " + ", ".join(missing) if missing else "")
            time.sleep(0.3)
    for name in missing:
        log = stack.logs / f"{name}.log"
        raise ConnectionError(f"{name} is not well after {UP_S:.0f} s: {_last_line(log)}; see {log}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1][:200] if lines else "its log is empty"


def _table(stack: Stack, parts: dict[str, Service]) -> None:
    states, total = supervisor.states(stack), launch.resident(supervisor.own(stack))
    for name, part in parts.items():
        state = states.get(name, {})
        rss = launch.resident(launch.processes(stack, name))
        total += rss
        well = "well" if supervisor.is_well(part, state) else state.get("statename", "missing").lower()
        print(f"  {name:<8} {well:<9} pid {state.get('pid', 0):<8} {rss / 2**20:6.0f} MiB  {part.health.rsplit('/api', 1)[0]}")
    print(f"  {'':<8} {'':<9} {'':<12} {total / 2**20:6.0f} MiB")


def _shown(folder: Path) -> str:
    return str(folder.relative_to(Path.cwd())) if folder.is_relative_to(Path.cwd()) else str(folder)


if __name__ == "__main__":
    try:
        app()
    except (ValueError, OSError) as error:
        sys.exit(f"stack: {' '.join(str(error).split())}")
