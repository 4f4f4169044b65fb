"""Fan-out on a real local Ray: order, composition of batches, exceptions as themselves."""

import importlib.util
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from boig.cluster import disconnect, local_cpus
from flows import on_ray
from flows.on_ray import ActorPool, map_batches, train
from tests.flows.nodes import Nodes

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def workers() -> Iterator[object]:
    """The workers' module, under a name that Ray's processes can import too."""
    import ray

    sys.path.insert(0, str(HERE))
    spec = importlib.util.find_spec("ray_workers")
    module = importlib.util.module_from_spec(spec)
    sys.modules["ray_workers"] = module
    spec.loader.exec_module(module)
    yield module
    ray.shutdown()
    sys.path.remove(str(HERE))


def test_rows_come_back_in_order_whatever_they_hold_and_however_many_workers_there_are(workers):
    rows = [{"number": i, "odd": None if i % 2 else [i], "picture": np.full((2, 2, 3), i, np.uint8)} for i in range(23)]
    answers = [
        map_batches(rows, workers.Doubler, {"factor": 3}, batch_size=4, workers=count, cpus_per_worker=1, label="rows") for count in (1, 2)
    ]
    assert [row["product"] for row in answers[0]] == [3 * i for i in range(23)]
    assert [row["together"] for row in answers[0]] == [4] * 20 + [3] * 3
    assert {row["cwd"] for row in answers[0]} == {str(Path.cwd())}
    for one, two in zip(*answers, strict=True):
        np.testing.assert_array_equal(one.pop("picture"), two.pop("picture"))
        assert one == two


def test_a_worker_for_which_the_cluster_has_no_room_holds_up_no_batch(workers):
    rows = [{"number": i} for i in range(6)]
    many = local_cpus() + 1
    found = map_batches(rows, workers.Sleeper, {"seconds": 0.2}, batch_size=1, workers=many, cpus_per_worker=1, label="rows")
    assert found == rows


def test_a_batch_is_done_again_where_its_process_died(workers, tmp_path: Path):
    rows = [{"number": i} for i in range(4)]
    once = {"number": 2, "mark": str(tmp_path / "died")}
    assert map_batches(rows, workers.Mortal, once, batch_size=1, workers=2, cpus_per_worker=1, label="rows") == rows
    assert (tmp_path / "died").exists()


LONG = """
from flows.on_ray import map_batches
from tests.flows.ray_workers import Busy

rows = [{"number": i} for i in range(6)]
assert map_batches(rows, Busy, {"seconds": 5}, batch_size=1, workers=2, cpus_per_worker=1, label="rows") == rows
"""


def test_batches_are_done_again_whose_node_has_died_before_ray_knows_it(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"PYTHONPATH": str(HERE.parents[1]), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
        monkeypatch.setenv(name, value)
    nodes = Nodes(count=2, cpus=1)
    try:
        running = subprocess.Popen([sys.executable, "-c", LONG], env=os.environ | nodes.env, stderr=subprocess.PIPE, text=True)
        assert nodes.kill_a_busy_one()
        nodes.mend()
        _, said = running.communicate()
        assert running.returncode == 0, said[-4000:]
    finally:
        nodes.close()


def test_a_batch_that_kills_each_process_is_given_up(workers, tmp_path: Path):
    always = {"number": 0, "mark": None}
    with pytest.raises(ConnectionError, match="a worker on Ray has died 4 times"):
        map_batches([{"number": 0}], workers.Mortal, always, batch_size=1, workers=1, cpus_per_worker=1, label="rows")


def test_arrays_that_come_back_can_be_written_to(workers):
    rows = [{"number": 1, "picture": np.zeros((300, 300, 3), np.uint8)}]
    [row] = map_batches(rows, workers.Doubler, {"factor": 1}, batch_size=1, workers=1, cpus_per_worker=1, label="rows")
    row["picture"][0, 0] = 1


def test_what_a_worker_prints_is_seen_under_its_name(workers, capfd: pytest.CaptureFixture):
    assert map_batches([{"number": 1}], workers.Talker, {}, batch_size=1, workers=1, cpus_per_worker=1, label="rows")
    said, end = "", time.monotonic() + 60
    while "last words" not in said and time.monotonic() < end:  # Ray brings them a while after; other tests keep the machine busy
        time.sleep(0.2)
        said += capfd.readouterr().out
    disconnect()
    assert "(Talker pid=" in said
    assert "last words" in said


def test_no_rows_cost_nothing(workers):
    assert map_batches([], workers.Doubler, {"factor": -1}, batch_size=4, workers=2, cpus_per_worker=1, label="rows") == []


@pytest.mark.parametrize(("factor", "number", "message"), [(-1, 1, "factor is -1"), (1, -1, "a negative number")])
def test_what_a_worker_raises_arrives_as_itself(factor: int, number: int, message: str, workers):
    with pytest.raises(ValueError, match=message) as raised:
        map_batches([{"number": number}], workers.Doubler, {"factor": factor}, batch_size=1, workers=1, cpus_per_worker=1, label="rows")
    assert "in a Ray worker" in raised.value.__notes__[0]


@pytest.mark.parametrize("count", [1, 2])
def test_training_runs_on_all_ranks_and_rank_0_answers(count: int, workers):
    config = {"fail": False, "report": workers.Counting()}
    assert train(workers.rank, config, workers=count, cpus_per_worker=1, gpus_per_worker=0, label="train") == {"ranks": count}


def test_what_a_training_raises_arrives_as_itself(workers):
    config = {"fail": True, "report": workers.Counting()}
    with pytest.raises(ValueError, match="the loss is not finite"):
        train(workers.rank, config, workers=1, cpus_per_worker=1, gpus_per_worker=0, label="train")


def test_what_one_rank_of_several_raises_is_told_once_and_not_tried_again(workers, tmp_path: Path, capfd: pytest.CaptureFixture):
    config = {"log": str(tmp_path / "log"), "deaths": 0}
    with pytest.raises(ValueError, match="the loss is not finite") as raised:
        train(workers.rank_that_fails, config, workers=2, cpus_per_worker=1, gpus_per_worker=0, label="train")
    assert "in a Ray worker" in raised.value.__notes__[0]
    assert (tmp_path / "log").read_text() == "begun\n"
    disconnect()
    said = capfd.readouterr()
    assert "the loss is not finite" not in said.out + said.err
    assert "Cleaner" not in said.out + said.err, "Ray Train's, which looks for its cluster and finds others"


def test_ranks_are_started_again_where_one_has_died(workers, tmp_path: Path):
    config = {"log": str(tmp_path / "log"), "deaths": 1}
    assert train(workers.rank_that_fails, config, workers=2, cpus_per_worker=1, gpus_per_worker=0, label="train") == {"begun": 2}


def all_cores_are_free() -> bool:
    """Within the seconds that Ray takes to count them."""
    import ray

    end = time.monotonic() + 30
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def test_a_training_of_which_a_rank_dies_each_time_is_given_up(workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(on_ray, "MAX_RESTARTS", 1)  # each takes a while
    config = {"log": str(tmp_path / "log"), "deaths": 9}
    with pytest.raises(ConnectionError, match=r"a worker on Ray has died 2 times .*lower `batch_size` or `workers`"):
        train(workers.rank_that_fails, config, workers=2, cpus_per_worker=1, gpus_per_worker=0, label="train")
    assert (tmp_path / "log").read_text() == "begun\n" * 2
    assert all_cores_are_free(), "a reservation that outlives its ranks: the next training waits for ever"


def test_a_training_whose_controller_dies_is_told_in_a_line(workers, capfd: pytest.CaptureFixture):
    disconnect()  # of the trainings before, whose controllers may still end and tell of it
    capfd.readouterr()
    with pytest.raises(ConnectionError, match=r"^Ray Train's controller has died \(.*\); .*lower `batch_size`") as raised:
        train(workers.rank_that_ends_its_controller, {}, workers=1, cpus_per_worker=1, gpus_per_worker=0, label="train")
    disconnect()  # as the end of a stage does
    said = capfd.readouterr()
    assert "\n" not in str(raised.value)
    assert "Traceback" not in said.out + said.err, said.out + said.err
    map_batches([{"number": 1}], workers.Doubler, {"factor": 2}, batch_size=1, workers=1, cpus_per_worker=local_cpus(), label="rows")


def test_actors_work_while_the_caller_does_and_answer_in_any_order(workers):
    with ActorPool(workers.Doubler, {"factor": 2}, size=2, cpus=1) as pool:
        futures = [pool.submit([{"number": i}]) for i in range(5)]
        assert [future.result()[0]["product"] for future in reversed(futures)] == [8, 6, 4, 2, 0]
        with pytest.raises(ValueError, match="a negative number"):
            pool.submit([{"number": -1}]).result()


def test_what_an_actor_raises_as_it_is_made_arrives_as_itself(workers):
    with ActorPool(workers.Doubler, {"factor": -1}, size=1, cpus=1) as pool, pytest.raises(ValueError, match="factor is -1"):
        pool.submit([{"number": 1}]).result()


TERMINATED = """
import os, signal, time
from boig.cluster import connect

signal.signal(signal.SIGTERM, signal.default_int_handler)
connect()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_driver_that_is_terminated_does_what_it_does_without_ray_and_prints_no_stack():
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run([sys.executable, "-c", TERMINATED], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
