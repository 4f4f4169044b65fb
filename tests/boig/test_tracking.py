"""Tracking: everything lands in a SQLite store, survives pickling, and never takes a training down with it."""

import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from mlflow import MlflowClient

from boig import owner, tracking
from boig.reporting import Reporter, Silent


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store; making one takes MLflow seconds, so all tests share it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def test_both_reporters_are_reporters():
    assert isinstance(Silent(), Reporter)
    assert isinstance(tracking.Run("sqlite:///x.db", "1"), Reporter)


def test_a_pipeline_and_its_stage_are_recorded(uri: str, tmp_path: Path):
    parent = tracking.start(uri, "pipeline", {"git.sha": "abc"})
    run = parent.child("ingest", {"dvc.stage": "ingest"})
    run.params({"ingest.feed": "data/feed"})
    run.inputs({"data/feed": "0123456789abcdef0123456789abcdef.dir"})
    for step in range(450):
        run.curve(step, loss=1 / (step + 1))
    run.picture("panel", np.zeros((4, 4, 3), np.uint8), step=3)
    run.picture("sheet", np.zeros((4, 4, 3), np.uint8))
    run.table("rows", [{"prompt": "a cup", "reward": 1.0}, {"prompt": "a shoe", "reward": 2.0}])
    run.table("seen", [{"prompt": "a cup", "picture": np.zeros((4, 4, 3), np.uint8)}])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    run.artifact(tmp_path / "folder")
    run.metrics({"ok": 5})
    run.tags({"prefect.flow_run_id": "x", "empty": ""})
    run.end()

    client = MlflowClient(uri)
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"ingest.feed": "data/feed"}
    assert found.data.metrics["ok"] == 5
    assert found.data.tags["mlflow.parentRunId"] == parent.run_id
    assert found.data.tags["prefect.flow_run_id"] == "x"
    assert "empty" not in found.data.tags
    assert [d.dataset.digest for d in found.inputs.dataset_inputs] == ["0123456789abcdef0123456789abcdef.dir"]
    assert len(client.get_metric_history(run.run_id, "loss")) == 450
    names = {entry.path for entry in client.list_artifacts(run.run_id)}
    assert {"images", "pictures", "rows.json", "seen.json", "table_images", "folder"} <= names
    assert tracking.children(parent) == {"ingest": tracking.Run(uri, run.run_id)}
    assert tracking.newest(uri, {"dvc.stage": "ingest"}) == run.run_id
    assert tracking.newest(uri, {"dvc.stage": "evaluate"}) == ""
    assert (Path(uri.removeprefix("sqlite:///")).parent / "mlruns").is_dir()


def test_parts_of_a_stage_are_runs_under_it_with_curves_of_equal_names(uri: str):
    stage = tracking.start(uri, "stage", {"dvc.stage": "align_boigsd"})
    stage.params({"seed": 1})
    for number, method in enumerate(("pft", "boigsd")):
        with stage.part(method) as part:
            pickle.loads(pickle.dumps(part)).metrics({"reward": number})
    with pytest.raises(KeyError), stage.part("ddpo"):
        raise KeyError("broken")

    client = MlflowClient(uri)
    experiment = client.get_run(stage.run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{stage.run_id}'", order_by=["start_time ASC"])
    assert [run.info.run_name for run in found] == ["pft", "boigsd", "ddpo"]
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED", "FAILED"]
    assert [run.data.metrics for run in found] == [{"reward": 0.0}, {"reward": 1.0}, {}]
    assert not any(run.data.params for run in found)
    assert tracking.children(stage) == {}


def test_a_part_of_a_lost_run_costs_nothing(uri: str, monkeypatch: pytest.MonkeyPatch):
    run = tracking.Run(uri, tracking.start(uri, "stage", {}).run_id, give_up_s=0.0)

    def broken(*_: object, **__: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(MlflowClient, "create_run", broken)
    with warnings.catch_warnings(record=True) as said, run.part("pft") as part:
        part.curve(0, reward=1.0)
        part.flush()
    assert ["goes on without tracking" in str(warning.message) for warning in said] == [True]


def test_a_pickled_run_writes_to_the_same_run_with_an_empty_buffer(uri: str):
    run = tracking.start(uri, "pipeline", {})
    run.curve(0, loss=1.0)
    copy = pickle.loads(pickle.dumps(run))
    copy.curve(1, loss=0.5)
    copy.flush()
    run.end()
    assert sorted(m.step for m in MlflowClient(uri).get_metric_history(run.run_id, "loss")) == [0, 1]


def test_a_curve_costs_no_write_per_step(uri: str, monkeypatch: pytest.MonkeyPatch):
    run = tracking.start(uri, "pipeline", {})
    writes = []
    monkeypatch.setattr(MlflowClient, "log_batch", lambda self, *args, **kwargs: writes.append(kwargs))
    for step in range(tracking.FLUSH_POINTS - 1):
        run.curve(step, loss=1.0)
    assert not writes
    run.flush()
    assert len(writes) == 1


def test_a_store_that_dies_costs_one_warning_and_nothing_else(uri: str, monkeypatch: pytest.MonkeyPatch):
    run = tracking.start(uri, "pipeline", {})
    run = tracking.Run(run.uri, run.run_id, give_up_s=0.0)

    def broken(*_: object, **__: object) -> None:
        raise OSError("gone")

    monkeypatch.setattr(MlflowClient, "log_batch", broken)
    with pytest.warns(RuntimeWarning, match="is lost .*gone.*goes on without tracking"):
        run.metrics({"ok": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.metrics({"ok": 2})
        run.end()


KILLED = """
import os, signal, sys
from boig import tracking
run = tracking.start(sys.argv[1], "killed", {})
with run.child("its stage", {}).part("its part"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_runs_of_a_killed_process_are_ended_by_the_next_run_and_no_others(uri: str):
    alive = tracking.start(uri, "alive", {})
    client = MlflowClient(uri)
    client.set_tag(elsewhere := tracking.start(uri, "elsewhere", {}).run_id, owner.TAG, "another-machine/1/1")
    client.set_tag(nobody := tracking.start(uri, "nobody's", {}).run_id, owner.TAG, "?")
    subprocess.run([sys.executable, "-c", KILLED, uri], check=False, env=os.environ)
    tracking.start(uri, "next", {})
    known = {run.info.run_name: run.info.status for run in client.search_runs([tracking.connect(uri)])}
    assert [known[name] for name in ("killed", "its stage", "its part")] == ["KILLED"] * 3
    assert {client.get_run(run).info.status for run in (alive.run_id, elsewhere, nobody)} == {"RUNNING"}
    assert tracking.end_dead(uri) == 0


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:9", "nonsense://x"])
def test_a_wrong_uri_at_the_start_is_one_clear_error(wrong: str):
    with pytest.raises(ConnectionError, match=r"MLFLOW_TRACKING_URI=.*unset MLFLOW_TRACKING_URI") as raised:
        tracking.start(wrong, "pipeline", {})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("password", ["secret", "sec%3Aret", "12%2334secret"])
@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-server\r\n", b"HTTP/1.1 401 no\r\ncontent-length: 0\r\n\r\n"])
def test_a_server_that_is_none_is_one_line_without_the_password(password: str, greeting: bytes):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=greet, args=(server, greeting), daemon=True).start()
        with pytest.raises(ConnectionError, match=r"MLFLOW_TRACKING_URI=http://127.0.0.1:\d+ does not answer") as raised:
            tracking.connect(f"http://me:{password}@127.0.0.1:{server.getsockname()[1]}")
    assert "secret" not in str(raised.value)
    assert unquote(password) not in str(raised.value)
    assert "\n" not in str(raised.value)


def greet(server: socket.socket, greeting: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(greeting)


@pytest.mark.parametrize(
    "ask", [tracking.children, lambda run: tracking.newest(run.uri, {"a": "b"}), lambda run: tracking.end_dead(run.uri)]
)
def test_a_server_that_is_gone_at_the_end_is_told_in_a_line_without_its_password(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConnectionError, match=r"^MLFLOW_TRACKING_URI=http://127\.0\.0\.1:1 does not answer") as told:
        ask(tracking.Run("http://me:secret@127.0.0.1:1", "a-run"))
    assert "secret" not in str(told.value)
