"""`python -m tests.faults [WORD ...]`: all faults, or those whose names hold one of the words; results in metrics/faults.json."""

import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from prefect.settings import PREFECT_API_URL, temporary_settings

from infra import deploy
from tests.faults.catalog import FAULTS
from tests.faults.drill import suffer, unended
from tests.faults.world import ROOT, World


def main(words: list[str]) -> int:
    """Run them; the exit code: how many were not survived."""
    for number in (signal.SIGTERM, signal.SIGINT):  # servers end with this; and where a shell has it ignore Ctrl-C, retrainings would too
        signal.signal(number, signal.default_int_handler)
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            world.begin()
            watch(world)
            for fault in chosen:
                begun = time.perf_counter()
                try:
                    results[fault.name] = {"survived": True, "told": _shown(suffer(world, fault), folder)}
                except AssertionError as error:
                    results[fault.name] = {"survived": False, "told": _shown(str(error), folder)}
                print(f"{fault.name}: {'ok' if results[fault.name]['survived'] else 'NOT SURVIVED'} "
                      f"({time.perf_counter() - begun:.0f} s): {results[fault.name]['told']}", flush=True)  # fmt: skip
            left = unended(world)
        finally:
            world.close()
    lost = [name for name, result in results.items() if not result["survived"]]
    print(f"{len(results) - len(lost)} of {len(results)} survived; runs without an end: {len(left)}")
    if not words:
        content = {"faults": len(results), "survived": len(results) - len(lost), "runs_without_end": len(left), "by_fault": results}
        (ROOT / "metrics" / "faults.json").write_text(json.dumps(content, indent=1) + "\n")
    return len(lost) + len(left)


def _shown(told: str, folder: str) -> str:
    """Without the places of this machine."""
    return told.replace(folder, "…").replace(str(ROOT), "…")


def watch(world: World) -> None:
    """The automation that finds dead runs, as `make deploy` registers it."""
    with temporary_settings({PREFECT_API_URL: world.env["PREFECT_API_URL"]}):
        deploy.watch()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
