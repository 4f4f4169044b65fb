"""What flows use to fan out on Ray: batches through an actor pool, a training over ranks, a pool of actors with futures.

Rows travel pickled, one batch per Ray row: any Python object may be in them, no schema is guessed from the first block, and the composition
of batches depends on the rows alone, never on how Ray cuts its blocks. So equal rows give equal results for any number of workers.
"""

import logging
import pickle
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from tqdm import tqdm

from boig.cluster import connect
from boig.reporting import Reporter
from flows.parcels import Raised, Sealed, cause_of, value_of

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
    _connect(cpus_per_worker, gpus_per_worker)
    _quiet_ray_data()
    answers = (
        ray.data.from_items([{"batch": pickle.dumps(batch, protocol=5)} for batch in batches], override_num_blocks=len(batches))
        .map_batches(
            _BatchWorker,
            fn_constructor_args=(Sealed.of((worker, worker_args)),),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(batches))),
            num_cpus=cpus_per_worker,
            num_gpus=gpus_per_worker,
        )
        .iter_rows()
    )
    result: list[dict] = []
    with tqdm(total=len(rows), desc=label, unit="row", mininterval=1.0) as bar:
        for batch, answer in zip(batches, answers, strict=True):
            result.extend(value_of(pickle.loads(answer["answer"])))
            bar.update(len(batch))
    return result


def train(
    fn: Callable[[dict], Any],
    config: dict,
    *,
    workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float,
    label: str,
) -> Any:
    """Run `fn(config)` on every rank of a Ray Train TorchTrainer; rank 0's answer comes back.

    With more than one worker torch.distributed is initialized. A rank whose process dies is started again, so `fn` must resume from its own
    scratch folder. A `Reporter` in `config` is flushed at the end of each rank.

    Args:
        fn: a plain function, pickled by reference.
        config: its argument; any picklable values.
        workers: ranks.
        cpus_per_worker: CPU cores of a rank, also its number of threads.
        gpus_per_worker: GPUs of a rank.
        label: names the run in Ray's own logs.

    Raises:
        Exception: what `fn` raised, as itself.
    """
    _connect(cpus_per_worker, gpus_per_worker)
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import WorkerGroupError

    storage = Path("scratch/ray").resolve()
    name = f"{label}-{uuid.uuid4().hex[:8]}"
    resources = {"CPU": cpus_per_worker} | ({"GPU": gpus_per_worker} if gpus_per_worker else {})
    trainer = TorchTrainer(
        _run_rank,
        train_loop_config={"job": Sealed.of((fn, config))},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus_per_worker > 0, resources_per_worker=resources),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MAX_RESTARTS),
            logging_config=LoggingConfig(log_level="ERROR"),  # its warnings tell of its own insides: a late answer is a traceback
        ),
    )
    try:
        return value_of(trainer.fit().return_value)
    except WorkerGroupError as error:
        raise cause_of(next(iter(error.worker_failures.values()), error)) from None
    finally:
        shutil.rmtree(storage / name, ignore_errors=True)


class Future:
    """The answer of one call, some time."""

    def __init__(self, reference: ray.ObjectRef):
        self._reference = reference

    def result(self) -> Any:
        """Wait for the answer.

        Raises:
            Exception: what the actor raised, as itself.
        """
        try:
            return ray.get(self._reference)
        except ray.exceptions.RayTaskError as error:
            raise cause_of(error) from None


class ActorPool:
    """Ray actors of one kind, called in turn. `submit` does not wait, so that the caller can work while they do."""

    def __init__(self, worker: Callable[..., Callable], worker_args: dict, *, size: int, cpus: float, gpus: float = 0):
        """Start `size` actors, each `worker(**worker_args)` with its own share of cores and GPUs."""
        _connect(cpus, gpus)
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS)(_Actor)
        self._actors = [actor.remote(Sealed.of((worker, worker_args))) for _ in range(size)]
        self._submitted = 0

    def submit(self, *args: Any) -> Future:
        """Call `worker(*args)` on the next actor."""
        actor = self._actors[self._submitted % len(self._actors)]
        self._submitted += 1
        return Future(actor.call.remote(*args))

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def __enter__(self) -> "ActorPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(cpus: float, gpus: float) -> None:
    """Connect, and say so when Ray has no place for even one worker: it would wait in silence (a cluster may still grow)."""
    connect()
    has = ray.cluster_resources()
    for name, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > has.get(name, 0):
            print(
                f"waiting for Ray: a worker needs {wanted:g} {name}, the cluster has {has.get(name, 0):g}; see `resources` in params.yaml"
            )


def _quiet_ray_data() -> None:
    """Keep the order of batches, however long one takes; one progress bar, ours; warnings only."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.execution_no_progress_timeout_s = -1  # Ray gives up after half an hour otherwise; a batch of descriptions may take longer
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.high_memory_detector_config.detection_time_interval_s = -1  # the pipeline's own peak is measured
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    for name in ("progress", "execution.resource_manager"):  # they warn that bars are off, and of every slow start
        logging.getLogger(f"ray.data._internal.{name}").setLevel(logging.ERROR)


class _BatchWorker:
    """What Ray Data's actors run: unpickle a batch, call the worker, pickle its answer."""

    def __init__(self, job: Sealed):
        self._job = job
        self._worker: Callable[[list[dict]], list[dict]] | None = None

    def __call__(self, table: Any) -> dict:
        try:
            if self._worker is None:  # here, not in the constructor: so its exception too can travel as an answer
                worker, arguments = self._job.open()
                self._worker = worker(**arguments)
            answers = [self._worker(pickle.loads(batch.as_py())) for batch in table["batch"]]
        except Exception as error:  # noqa: BLE001 - raised again by the driver
            answers = [Raised.of(error)]
        return {"answer": [pickle.dumps(answer, protocol=5) for answer in answers]}


class _Actor:
    """What the actors of an `ActorPool` run."""

    def __init__(self, job: Sealed):
        self._failure: Exception | None = None
        try:
            worker, arguments = job.open()
            self._worker = worker(**arguments)
        except Exception as error:  # noqa: BLE001 - raised by the first call: Ray would hide it behind the actor's death, and try again
            self._failure = error

    def call(self, *args: Any) -> Any:
        if self._failure is not None:
            raise self._failure
        return self._worker(*args)


def _run_rank(loop: dict) -> Any:
    """What a rank of Ray Train runs."""
    from ray.train import get_context

    config: dict = {}
    try:
        fn, config = loop["job"].open()
        return fn(config)
    except Exception as error:
        if get_context().get_world_size() > 1:
            raise  # the other ranks wait in a collective: only a failed rank ends the group
        return Raised.of(error)
    finally:
        for value in config.values():
            if isinstance(value, Reporter):
                value.flush()
