"""A stage as DVC runs it: `python -m flows.<stage>` loads its section, opens its MLflow run, calls its flow, writes its metrics."""

import gc
import hashlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from boig.params import load
from boig.reporting import Reporter
from boig.section import Section
from flows.processes import alone, die_with_parent, orphaned
from infra.closure import closure
from infra.orchestrator import beating, reaching_prefect

if TYPE_CHECKING:
    from prefect import Flow

    from boig.tracking import Run

USER_MISTAKES = (ValueError, FileNotFoundError, NotADirectoryError, PermissionError, ConnectionError)
"""Shown as one line; everything else is our mistake and shows its traceback."""
PREFECT_START_S = 300
"""A flow without `PREFECT_API_URL` starts a temporary server, which takes up to half a minute on a busy machine."""


def run_stage(name: str, flow: "Flow") -> int:
    """Run one stage; the exit code.

    Metrics go to `metrics/<name>.json`, all at once and only when the flow has ended well. One process at a time runs a stage in a folder:
    a killed one may need a while to end, and both would take up, and clear away, the same progress.

    Args:
        name: the stage.
        flow: takes the section and a reporter; gives metrics, and under "made" a line that says what was made and where.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: the run is closed, nothing is half-written
    try:
        if "DVC_STAGE" in os.environ:
            die_with_parent()
            if orphaned():
                raise KeyboardInterrupt
        with alone(Path("scratch") / f"{name}.lock", f"{name}: another process still works on it here; waiting for its end"):
            return _run_alone(name, flow)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except OSError as error:  # of the lock alone: what the stage itself meets, it has told
        print(f"{name}: scratch/ cannot be written here ({error}); it must be a folder of yours with room in it", file=sys.stderr)
        return 1
    finally:
        _leave()


def _run_alone(name: str, flow: "Flow") -> int:
    begun = time.perf_counter()
    run: Run | None = None
    try:
        section = load(name)
        from flows import handover, lineage  # MLflow takes seconds to import: not before the section is known to be right

        run = lineage.open_stage(name, section)
        with handover.stage(name, partial(lineage.read_by, name, section)):
            answer, flow_run_id = _in_prefect(flow, section, run)
        metrics = dict(answer)
        made = metrics.pop("made", f"metrics/{name}.json")
        write_json(Path("metrics") / f"{name}.json", metrics)
        run.metrics(dict(flat(metrics)))
        lineage.close_stage(run, flow_run_id)
    except (KeyboardInterrupt, SystemExit):
        _end_failed(run)
        raise KeyboardInterrupt from None
    except USER_MISTAKES as error:
        _end_failed(run)
        print(f"{name}: {_one_line(error)}{_kept(name)}", file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 - ours: shown in full, and the run is closed
        _end_failed(run)
        traceback.print_exc()
        return 1
    print(f"{name}: {made} ({time.perf_counter() - begun:.0f} s)")
    return 0


def scratch_dir(name: str, section: Section, inputs: list[Path]) -> Path:
    """The folder in which a stage keeps progress it can resume from: `scratch/<name>/<key>`, made if missing.

    The key is a hash of section, inputs and code, so that progress of another question is never picked up. The stage removes the folder
    once its results are in place.

    Args:
        name: the stage.
        section: its parameters.
        inputs: the files and folders that it reads.

    Raises:
        FileNotFoundError: an input is missing.
    """
    digest = hashlib.sha256(section.model_dump_json().encode())
    for path in [*inputs, *closure(Path("flows") / f"{name}.py")]:
        for file in _files(Path(path)):
            digest.update(f"{file.as_posix()}\0".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    folder = Path("scratch") / name / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: Path, content: dict) -> None:
    """Write atomically; a number that is not finite is refused.

    Raises:
        ValueError: a NaN or an infinity; names the file.
    """
    try:
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    except ValueError as error:
        bad = [key for key, value in flat(content) if value != value or value in (float("inf"), float("-inf"))]
        raise ValueError(f"{path}: not finite: {', '.join(bad) or error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def flat(content: dict, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested metrics by dotted name."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{key}", float(value)


def _in_prefect(flow: "Flow", section: Section, report: Reporter) -> tuple[dict, str]:
    """Call the flow: its metrics and the id of its run.

    Prefect's own log keeps everything; the terminal gets its warnings, without tracebacks.
    """
    from prefect.logging.configuration import setup_logging
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        temporary_settings,
    )

    setup_logging()
    for name in (None, "prefect"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_worth_showing)
    ours = {PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: PREFECT_START_S, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    if (every_s := PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()) and PREFECT_API_URL.value():  # a server of this run's own ends with it
        flow = beating(flow, every_s)
    with temporary_settings(updates={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}, set_defaults=ours), reaching_prefect():
        state = flow(section, report, return_state=True)
    return state.result(), str(state.state_details.flow_run_id or "")


def _worth_showing(record: logging.LogRecord) -> bool:
    """Whether a record is for the terminal; a failure is told by `run_stage`, in one line."""
    if not record.name.startswith("prefect"):
        return True
    return record.levelno >= logging.WARNING and record.exc_info is None and "Finished in state" not in record.getMessage()


def _leave() -> None:
    """Have the process end at once: else Ray waits for last lines, and Python looks for garbage among all that was imported."""
    if "boig.cluster" in sys.modules:
        sys.modules["boig.cluster"].disconnect()
    gc.freeze()


def _end_failed(run: "Run | None") -> None:
    if run is not None:
        run.end(failed=True)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _kept(name: str) -> str:
    """Keep the traceback of a user's mistake in a file; where."""
    log = Path("scratch") / name / "error.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(traceback.format_exc())
    return f" [traceback: {log}]"


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `dvc repro` up to the stage that writes it")
    return [path]
