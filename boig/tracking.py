"""The door to MLflow's runs: one parent per pipeline run, a child per stage, curves, pictures and lineage.

SQLite and a local folder by default, a server by `MLFLOW_TRACKING_URI`. A tracking server that dies in the middle of a training costs its
curves, never the training: writes are tried again for a while, then one warning is given and the rest is dropped.
"""

import atexit
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from tenacity import RetryError, Retrying, stop_after_delay, wait_exponential

from boig import owner
from boig.tracking_store import EXPERIMENT, answering, client_of, connect, hush, shown, uri, without_login

__all__ = ["EXPERIMENT", "Run", "answering", "children", "connect", "end_dead", "newest", "shown", "start", "system_metrics", "uri"]
FLUSH_POINTS = 200
"""Curve points that are buffered before they are written."""
FLUSH_SECONDS = 5.0
"""Longest time that a curve point stays in the buffer while others arrive."""
GIVE_UP_SECONDS = 30.0
"""How long one write is tried again before tracking is given up for this process."""
SYSTEM_SAMPLE_S = 10
"""Between two points of the machine's curves."""
MAX_TAG = 5000
"""Characters of a tag value; MLflow's limit."""


@dataclass
class Run:
    """A `Reporter` that writes to one MLflow run. Picklable: in another process it opens its own connection."""

    uri: str
    run_id: str
    give_up_s: float = GIVE_UP_SECONDS
    _points: list[Metric] = field(default_factory=list, repr=False, compare=False)
    _flushed_s: float = field(default=0.0, repr=False, compare=False)
    _lost: bool = field(default=False, repr=False, compare=False)
    _at_exit: bool = field(default=False, repr=False, compare=False)

    def __getstate__(self) -> dict:
        return {"uri": self.uri, "run_id": self.run_id, "give_up_s": self.give_up_s}

    def __setstate__(self, state: dict) -> None:
        type(self).__init__(self, **state)

    def curve(self, step: int, **values: float) -> None:
        """Points of curves, by name, at one step; buffered."""
        now = time.time()
        self._points.extend(Metric(name, float(value), int(now * 1000), int(step)) for name, value in values.items())
        if not self._at_exit:
            self._at_exit = True
            self._flushed_s = now
            atexit.register(self.flush)
        if len(self._points) >= FLUSH_POINTS or now - self._flushed_s > FLUSH_SECONDS:
            self.flush()

    def picture(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        """A picture, uint8 (H, W, 3). MLflow stores two objects per call: log few."""
        if step is None:
            self._try(lambda client: client.log_image(self.run_id, picture, artifact_file=f"pictures/{name}.png"))
        else:
            self._try(lambda client: client.log_image(self.run_id, picture, key=name, step=step, synchronous=True))

    def artifact(self, path: Path) -> None:
        """A file, or a folder under its own name."""
        if Path(path).is_dir():
            self._try(lambda client: client.log_artifacts(self.run_id, str(path), artifact_path=Path(path).name))
        else:
            self._try(lambda client: client.log_artifact(self.run_id, str(path)))

    def table(self, name: str, rows: list[dict]) -> None:
        """Rows with equal keys. A picture in it, uint8 (H, W, 3), is stored as two objects: few rows."""
        columns = {key: [_in_table(row[key]) for row in rows] for key in rows[0]} if rows else {}
        self._try(lambda client: client.log_table(self.run_id, columns, artifact_file=f"{name}.json"))

    @contextmanager
    def part(self, name: str) -> Iterator["Run"]:
        """A run under this one, which ends with the context. It has no parameters: MLflow lists them above each picture."""
        made: list[Run] = []

        def make(client: MlflowClient) -> None:
            experiment = client.get_run(self.run_id).info.experiment_id
            run = client.create_run(experiment, tags={MLFLOW_PARENT_RUN_ID: self.run_id, owner.TAG: owner.me()}, run_name=name)
            made.append(Run(self.uri, run.info.run_id, self.give_up_s))

        self._try(make)
        part = made[0] if made else self  # which is lost, and drops what it is told
        failed = True
        try:
            yield part
            failed = False
        finally:
            if made:
                part.end(failed=failed)

    def flush(self) -> None:
        """Write the buffered curve points."""
        points, self._points, self._flushed_s = self._points, [], time.time()
        for start in range(0, len(points), 1000):  # MLflow takes at most 1000 metrics a call
            self._log(metrics=points[start : start + 1000])

    def metrics(self, values: dict[str, float]) -> None:
        """Final numbers, by dotted name."""
        now = int(time.time() * 1000)
        self._points.extend(Metric(name, float(value), now, 0) for name, value in values.items())
        self.flush()

    def params(self, values: dict[str, object]) -> None:
        """Parameters, by dotted name."""
        params = [Param(name, str(value)) for name, value in values.items()]
        for start in range(0, len(params), 100):
            self._log(params=params[start : start + 100])

    def tags(self, values: dict[str, str]) -> None:
        """Tags; an empty value is not written."""
        tags = [RunTag(name, str(value)[:MAX_TAG]) for name, value in values.items() if str(value)]
        for start in range(0, len(tags), 100):
            self._log(tags=tags[start : start + 100])

    def inputs(self, digests: dict[str, str]) -> None:
        """Data sets that the run read: path to digest (DVC's md5)."""
        datasets = [
            DatasetInput(Dataset(path, digest[:36], "local", path), [InputTag("mlflow.data.context", "input")])
            for path, digest in digests.items()
        ]
        if datasets:
            self._try(lambda client: client.log_inputs(self.run_id, datasets=datasets))

    def child(self, name: str, tags: dict[str, str]) -> "Run":
        """A run under this one."""
        return start(self.uri, name, {**tags, MLFLOW_PARENT_RUN_ID: self.run_id})

    def end(self, *, failed: bool = False) -> None:
        """Flush and close the run."""
        self.flush()
        self._try(lambda client: client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED"))

    def _log(self, **entries: list) -> None:
        self._try(lambda client: client.log_batch(self.run_id, **entries))

    def _try(self, write: Callable[[MlflowClient], object]) -> None:
        """Write, again and again for `give_up_s`; then warn once and drop whatever else this process would write."""
        if self._lost:
            return
        try:
            for attempt in Retrying(stop=stop_after_delay(self.give_up_s), wait=wait_exponential(max=10), reraise=False):
                with attempt:
                    write(client_of(self.uri))
        except RetryError as error:
            self._lost = True
            cause = without_login(str(error.last_attempt.exception()), self.uri)
            warnings.warn(f"MLflow at {shown(self.uri)} is lost ({cause}); the run goes on without tracking", RuntimeWarning, stacklevel=3)


def start(tracking_uri: str, name: str, tags: dict[str, str]) -> Run:
    """Open a run; one that is under no other first has those of killed processes ended.

    Raises:
        ConnectionError: the store does not answer.
    """
    experiment = connect(tracking_uri)
    if MLFLOW_PARENT_RUN_ID not in tags:
        end_dead(tracking_uri)
    with answering(tracking_uri):
        own = {MLFLOW_RUN_NAME: name, owner.TAG: owner.me()}
        run = client_of(tracking_uri).create_run(experiment, tags={**tags, **own}, run_name=name)
    return Run(tracking_uri, run.info.run_id)


def end_dead(tracking_uri: str) -> int:
    """Mark runs of killed processes as killed; how many.

    Raises:
        ConnectionError: the store does not answer.
    """
    experiment, client = connect(tracking_uri), client_of(tracking_uri)
    with answering(tracking_uri):
        running = client.search_runs([experiment], "attributes.status = 'RUNNING'")
        dead = [run.info.run_id for run in running if owner.gone(run.data.tags.get(owner.TAG, ""))]
        for run_id in dead:
            client.set_terminated(run_id, "KILLED")
    return len(dead)


@contextmanager
def system_metrics(run: Run) -> Iterator[None]:
    """CPU, memory, disk, network and GPU of this machine as curves of a run, for as long as the context lives."""
    hush()
    monitor = SystemMetricsMonitor(run.run_id, sampling_interval=SYSTEM_SAMPLE_S, tracking_uri=run.uri)
    monitor.start()
    try:
        yield
    finally:  # it writes its last points, for which MLflow's client tries minutes at a server that is gone
        closing = threading.Thread(target=monitor.finish, daemon=True)
        closing.start()
        closing.join(GIVE_UP_SECONDS)


def children(parent: Run) -> dict[str, Run]:
    """The child runs of a parent by stage; the newest where a stage ran twice.

    Raises:
        ConnectionError: the store does not answer.
    """
    client = client_of(parent.uri)
    with answering(parent.uri):
        experiment = client.get_run(parent.run_id).info.experiment_id
        found = client.search_runs([experiment], f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.run_id}'", order_by=["start_time ASC"])
    return {run.data.tags["dvc.stage"]: Run(parent.uri, run.info.run_id) for run in found if "dvc.stage" in run.data.tags}


def newest(tracking_uri: str, tags: dict[str, str]) -> str:
    """Id of the newest run with all these tags, or nothing.

    Raises:
        ConnectionError: the store does not answer.
    """
    query, experiment = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items()), connect(tracking_uri)
    with answering(tracking_uri):
        found = client_of(tracking_uri).search_runs([experiment], query, max_results=1, order_by=["start_time DESC"])
    return found[0].info.run_id if found else ""


def _in_table(value: object) -> object:
    if not isinstance(value, np.ndarray):
        return value
    from mlflow import Image  # takes a second to import, and most runs have no table of pictures

    return Image(value)
