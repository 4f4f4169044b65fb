"""What flows use to fan out on Ray: batches through a pool of actors, the pool itself with futures, a training over ranks.

The composition of batches depends on the rows alone, so equal rows give equal results for any number of workers. Calls and answers travel
pickled: arrays that Ray hands out itself cannot be written to, and keep their place in its store for as long as they live.
"""

import logging
import pickle
import re
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from tqdm import tqdm

from boig.cluster import connect, heard
from boig.reporting import Reporter
from flows import handover
from flows.parcels import Raised, Sealed, value_of

if TYPE_CHECKING:
    from flows.rank_places import Trainer

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
    """Send batches of rows through a pool of actors; the rows that come back are in the order of those that went in.

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
    answers: dict[int, list[dict]] = {}
    with (
        ActorPool(worker, worker_args, size=min(workers, len(batches)), cpus=cpus_per_worker, gpus=gpus_per_worker) as pool,
        tqdm(total=len(rows), desc=label, unit="row", mininterval=1.0) as bar,
    ):
        for place, answer in pool.map(batches):
            answers[place] = answer
            bar.update(len(batches[place]))
    handover.collect()
    return [row for place in range(len(batches)) for row in answers[place]]


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
        ConnectionError: ranks died each time that they were started again, or the process that leads them has died.
        Exception: what `fn` raised, as itself.
    """
    _connect(cpus_per_worker, gpus_per_worker)
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig

    from flows.rank_places import Trainer

    storage = Path("scratch/ray").resolve()
    name = f"{label}-{uuid.uuid4().hex[:8]}"
    resources = {"CPU": cpus_per_worker} | ({"GPU": gpus_per_worker} if gpus_per_worker else {})
    trainer = Trainer(
        _run_rank,
        train_loop_config={"job": Sealed.of((fn, config))},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus_per_worker > 0, resources_per_worker=resources),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=0),  # Ray would also start again where the code has raised
            logging_config=LoggingConfig(log_level="ERROR"),  # its warnings tell of its own insides: a late answer is a traceback
        ),
    )
    try:
        answer = value_of(_fitted(trainer, MAX_RESTARTS))
        handover.collect()
        return answer
    finally:
        heard()
        shutil.rmtree(storage / name, ignore_errors=True)


_BEREFT = re.compile(r"Connection (closed|reset) by peer|Broken pipe|NCCL")
"""What a rank says whose collective has lost another one; it may be heard before that one's death is."""


def _fitted(trainer: "Trainer", restarts: int) -> Any:
    """Rank 0's answer. Where a rank has died all start again, whatever others say: they were in a collective with it."""
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError
    from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

    death = (WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError, ray.exceptions.RayActorError)
    try:
        return trainer.fit().return_value
    except (ControllerError, WorkerGroupError) as error:  # the first: before all ranks had begun
        failures = [error.controller_failure] if isinstance(error, ControllerError) else list(error.worker_failures.values())
        died = next((failure for failure in failures if isinstance(failure, death) or _BEREFT.search(str(failure))), None)
        if not died:
            raise failures[0] from None
        if not restarts:
            raise _given_up(died) from None
    except ray.exceptions.RayActorError as error:  # it keeps the places of its ranks until this process ends, so none may start again
        raise _given_up(error, "Ray Train's controller has died") from None
    return _fitted(trainer, restarts - 1)


def _given_up(death: Exception, what: str = "") -> ConnectionError:
    """What to tell of a death that ends the work; by default of an actor or a rank that died once more than it is started again."""
    told = str(death).strip().partition("\n")[0]
    mend = "most often of memory: lower `batch_size` or `workers` of the stage in params.yaml"
    return ConnectionError(f"{what or f'a worker on Ray has died {MAX_RESTARTS + 1} times'} ({told}); {mend}")


class Future:
    """The answer of one call, some time."""

    def __init__(self, reference: ray.ObjectRef):
        self._reference = reference

    def result(self) -> Any:
        """Wait for the answer.

        Raises:
            ConnectionError: the actor's process died each time that it was started again.
            Exception: what the actor raised, as itself.
        """
        try:
            return value_of(pickle.loads(ray.get(self._reference)))
        except ray.exceptions.RayActorError as error:
            raise _given_up(error) from None
        finally:
            heard()


class ActorPool:
    """Ray actors of one kind, called in turn. `submit` does not wait, so that the caller can work while they do."""

    def __init__(self, worker: Callable[..., Callable], worker_args: dict, *, size: int, cpus: float, gpus: float = 0):
        """Start `size` actors, each `worker(**worker_args)` with its own share of cores and GPUs."""
        _connect(cpus, gpus)
        # A call is tried for as long as its actor is started again: until a node counts as dead, after a quarter of a minute, each try
        # at its actors is refused within a second or two.
        actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=MAX_RESTARTS, max_task_retries=-1)(_Actor)
        self._actors = [actor.remote(Sealed.of((worker, worker_args))) for _ in range(size)]
        self._submitted = 0

    def submit(self, *args: Any) -> Future:
        """Call `worker(*args)` on the next actor."""
        actor = self._actors[self._submitted % len(self._actors)]
        self._submitted += 1
        return Future(actor.call.remote(pickle.dumps(args)))

    def map(self, items: list) -> Iterator[tuple[int, Any]]:
        """Call `worker(item)` for each item: (place of the item, answer), in the order of the answers.

        An actor gets an item when it is free, so one that the cluster has no room for yet holds up none.

        Raises:
            Exception: what the worker raised, as itself.
        """
        left = deque(enumerate(items))
        calls: dict[ray.ObjectRef, tuple[Any, int | None]] = {actor.ready.remote(): (actor, None) for actor in self._actors}
        missing = len(items)
        while missing:
            [done], _ = ray.wait(list(calls))
            actor, place = calls.pop(done)
            if left:
                following, item = left.popleft()
                calls[actor.call.remote(pickle.dumps((item,)))] = actor, following
            if place is not None:
                missing -= 1
                yield place, Future(done).result()

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


class _Actor:
    """What the actors of an `ActorPool` run. An exception is an answer: Ray would hide one of the constructor behind the actor's death."""

    def __init__(self, job: Sealed):
        self._job = job
        self._worker: Callable[..., Any] | Raised
        try:
            worker, arguments = job.open()
            self._worker = worker(**arguments)
        except Exception as error:  # noqa: BLE001 - raised again by the driver
            self._worker = Raised.of(error)

    def __repr__(self) -> str:
        """Names the actor in Ray's logs."""
        return type(self._worker).__name__

    def ready(self) -> None:
        """Answers once the actor has a place and is made."""

    def call(self, arguments: bytes) -> bytes:
        answer: Any = self._worker
        if not isinstance(self._worker, Raised):
            try:
                answer = self._worker(*pickle.loads(arguments))
                self._job.deliver()
            except Exception as error:  # noqa: BLE001 - raised again by the driver
                answer = Raised.of(error)
        return pickle.dumps(answer)


def _run_rank(loop: dict) -> Any:
    """What a rank of Ray Train runs."""
    from ray.train import get_context

    config: dict = {}
    try:
        fn, config = loop["job"].open()
        with handover.pushing(loop["job"].handover):
            return fn(config)
    except Exception as error:  # noqa: BLE001 - raised again by the driver
        raised = Raised.of(error)
        if get_context().get_world_size() > 1:  # the others wait in a collective: only a failed rank ends the group
            logging.getLogger("ray.train").setLevel(logging.CRITICAL)  # it would print what the driver tells
            raise raised.error from None
        return raised
    finally:
        for value in config.values():
            if isinstance(value, Reporter):
                value.flush()
