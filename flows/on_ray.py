"""What flows use to fan out on Ray: batches through an actor pool, a training over ranks, a pool of actors with futures.

Rows travel pickled, one batch per Ray row: any Python object may be in them, no schema is guessed from the first block, and the composition
of batches depends on the rows alone, never on how Ray cuts its blocks. So equal rows give equal results for any number of workers.
"""

import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import ray
from tqdm import tqdm

from boig.cluster import connect
from boig.reporting import Reporter

MAX_RESTARTS = 3
"""Of an actor or a rank whose process died (spot machines, memory); an exception in its code is not retried."""


def map_batches(
    rows: list[dict],
    worker: type,
    worker_args: dict,
    *,
    batch_size: int,
    workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float = 0,
    label: str,
) -> list[dict]:
    """Send batches of rows through a pool of actors of Ray Data; the rows that come back are in the order of those that went in.

    Args:
        rows: what to work on; any picklable values.
        worker: a class; `worker(**worker_args)` is made once per actor, then called with a list of rows, and returns a list of rows.
        worker_args: arguments of its constructor; any picklable values.
        batch_size: rows per call.
        workers: actors.
        cpus_per_worker: CPU cores of an actor, also its number of threads.
        gpus_per_worker: GPUs of an actor.
        label: of the progress bar.

    Raises:
        Exception: what the worker raised, as itself.
    """
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    if not batches:
        return []
    connect()
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    done = (
        ray.data.from_items([{"rows": pickle.dumps(batch, protocol=5)} for batch in batches], override_num_blocks=len(batches))
        .map_batches(
            _BatchWorker,
            fn_constructor_args=(_Here.now(), worker, worker_args),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(batches))),
            num_cpus=cpus_per_worker,
            num_gpus=gpus_per_worker,
        )
        .iter_rows()
    )
    return [row for batch in _unpickled(done, len(rows), label) for row in batch]
