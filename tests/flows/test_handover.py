"""Files between nodes that share no file system: whatever order ends write and look in, they end with the same."""

import json
import os
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import handover
from flows.handover import Handover
from tests.flows.bucket import Bucket, Prefix

NAMES = ("scratch/s/a", "scratch/s/b", "scratch/s/kept/c")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket()
    monkeypatch.setattr(handover, "_store", bucket.at)
    return bucket


def end(root: Path, *, away: bool = True, inputs: tuple[str, ...] = ()) -> Handover:
    (root / "scratch").mkdir(parents=True, exist_ok=True)
    return Handover("s3://b/log", root, inputs, "scratch/s", "scratch/s.handover", away)


def written(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


MOVES = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(NAMES), st.one_of(st.none(), st.integers(0, 9))), max_size=12)


@given(MOVES)
def test_ends_that_write_in_turn_end_with_what_was_written_last(tmp_path_factory: pytest.TempPathFactory, moves):
    """An end looks before it writes, as an actor does that is started, and hands over as it answers."""
    top = tmp_path_factory.mktemp("ends")
    bucket, expected = Bucket(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover, "_store", bucket.at)
        ends = [end(top / str(number)) for number in range(3)]
        for number, name, value in moves:
            ends[number].pull()
            path = top / str(number) / name
            if value is None:
                path.unlink(missing_ok=True)
                expected.pop(name, None)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(str(value))
                expected[name] = str(value)
            ends[number].push()
        for number, one in enumerate(ends):
            one.pull()
            assert written(top / str(number)) == expected


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 9)), max_size=8))
def test_nothing_new_is_not_handed_over(tmp_path_factory: pytest.TempPathFactory, files):
    root, bucket = tmp_path_factory.mktemp("end"), Bucket()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover, "_store", bucket.at)
        one = end(root)
        for name, value in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(str(value))
        one.push()
        before = dict(bucket.objects)
        one.push()
        one.pull()
        one.push()
        assert bucket.objects == before


def test_writers_on_several_nodes_lose_nothing_of_each_other(bucket: Bucket, tmp_path: Path):
    def work(number: int) -> None:
        one = end(tmp_path / str(number))
        for step in range(10):
            path = tmp_path / str(number) / "scratch/s" / f"{number}-{step}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{number} {step}")
            one.push()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = end(tmp_path / "last")
    last.pull()
    assert written(tmp_path / "last") == {f"scratch/s/{n}-{s}": f"{n} {s}" for n in range(4) for s in range(10)}


def test_threads_of_a_driver_hand_inputs_over_once_and_miss_nothing_of_a_worker(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The store answers the driver's first entry slowly: meanwhile a worker writes one, and the driver's other thread looks and writes."""
    home = tmp_path / "home"
    driver, worker = end(home, away=False, inputs=("posts",)), end(tmp_path / "away")
    (home / "posts").write_text("posts")
    others: list[threading.Thread] = []
    put_once = Prefix.put_once

    def slow(prefix: Prefix, name: str, content: dict) -> bool:
        written = put_once(prefix, name, content)
        if not others:
            others.append(threading.Thread(target=lambda: (driver.pull(), driver.push())))
            (tmp_path / "away/scratch/s").mkdir()
            (tmp_path / "away/scratch/s/row").write_text("done")
            worker.push()
            others[0].start()
            others[0].join(0.5)  # without a lock it comes to its end here
        return written

    monkeypatch.setattr(Prefix, "put_once", slow)
    driver.push()
    others[0].join()
    driver.pull()
    assert written(home) == {"posts": "posts", "scratch/s/row": "done"}
    assert [key.rpartition("/")[2] for key in bucket.objects if "/log/log/" in key] == ["000000001.json", "000000002.json"]
    (tmp_path / "away/scratch/s/row").write_text("done again")
    worker.push()
    driver.pull()
    assert (home / "scratch/s/row").read_text() == "done again"


def test_a_worker_has_the_stages_inputs_and_hands_back_only_what_is_in_its_progress(bucket: Bucket, tmp_path: Path):
    home, away = tmp_path / "home", tmp_path / "away"
    (home / "data").mkdir(parents=True)
    (home / "data" / "posts").write_text("posts")
    (home / "data" / "other").write_text("other")
    driver, worker = end(home, away=False, inputs=("data/posts",)), end(away)
    driver.push()
    worker.pull()
    assert written(away) == {"data/posts": "posts"}
    (away / "mlflow.db").write_text("of a library")
    (away / "data" / "posts").write_text("overwritten")
    (away / "scratch" / "s").mkdir()
    (away / "scratch" / "s" / "checkpoint").write_text("step 3")
    worker.push()
    driver.pull()
    assert written(home) == {"data/posts": "posts", "data/other": "other", "scratch/s/checkpoint": "step 3"}


def test_another_process_begins_with_what_the_one_that_died_had_handed_over(bucket: Bucket, tmp_path: Path):
    first = end(tmp_path / "first")
    (tmp_path / "first" / "scratch" / "s").mkdir()
    (tmp_path / "first" / "scratch" / "s" / "checkpoint").write_text("step 3")
    first.push()
    second = pickle.loads(pickle.dumps(first))
    second.root = tmp_path / "second"
    second.pull()
    assert (tmp_path / "second" / "scratch" / "s" / "checkpoint").read_text() == "step 3"


def test_what_is_swapped_while_it_is_looked_at_is_left_for_the_next_time(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, progress = end(tmp_path), tmp_path / "scratch" / "s"
    (progress / "checkpoint").mkdir(parents=True)
    for part in "xy":
        (progress / "checkpoint" / part).write_text("step 1")
    hashed = handover._digest

    def swap(path: Path) -> str:
        shutil.rmtree(progress / "draft", ignore_errors=True)
        (progress / "draft").mkdir()
        for part in "xy":
            (progress / "draft" / part).write_text("step 2")
        shutil.rmtree(progress / "checkpoint")
        os.replace(progress / "draft", progress / "checkpoint")
        return hashed(path)

    monkeypatch.setattr(handover, "_digest", swap)
    one.push(settled=False)
    assert not [key for key in bucket.objects if "/log/log/" in key], "half of one step and half of another"
    monkeypatch.setattr(handover, "_digest", hashed)
    one.push()
    other = end(tmp_path / "other")
    other.pull()
    assert set(written(tmp_path / "other").values()) == {"step 2"}


@pytest.mark.parametrize("name", ["../outside", "/etc/outside"])
def test_a_log_cannot_name_what_is_outside(name: str, bucket: Bucket, tmp_path: Path):
    bucket.objects["s3://b/log/log/000000001.json"] = json.dumps({name: "0" * 64 + "-1"}).encode()
    bucket.objects["s3://b/log/objects/" + "0" * 64 + "-1"] = b""
    with pytest.raises(ValueError, match="outside of"):
        end(tmp_path / "end").pull()
    assert not (tmp_path / "outside").exists()


def test_other_content_than_was_handed_over_is_refused(bucket: Bucket, tmp_path: Path):
    bucket.objects["s3://b/log/log/000000001.json"] = json.dumps({"scratch/s/a": "0" * 64 + "-1"}).encode()
    bucket.objects["s3://b/log/objects/" + "0" * 64 + "-1"] = b"something else"
    with pytest.raises(ConnectionError, match="other content than was handed over"):
        end(tmp_path).pull()
    assert not written(tmp_path), "half a file is no file"


def cut_off(inputs: list[str], work: Callable[[Handover], None]) -> None:
    """A stage that is interrupted after some work."""
    with handover.stage("s", lambda: inputs):
        work(handover.current())
        raise KeyboardInterrupt


class TestStage:
    @pytest.fixture
    def place(self, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("BOIG_HANDOVER", "s3")
        monkeypatch.setenv("BOIG_S3_URL", "s3://b/team")
        (tmp_path / "scratch").mkdir()
        return tmp_path

    def test_a_run_that_was_cut_off_goes_on_with_what_its_workers_wrote(self, bucket: Bucket, place: Path, tmp_path: Path):
        def work(ours: Handover) -> None:
            worker = pickle.loads(pickle.dumps(ours))
            worker.root, worker.away = tmp_path / "away", True
            (worker.root / "scratch" / "s").mkdir(parents=True)
            (worker.root / "scratch" / "s" / "row").write_text("done")
            worker.push()

        with pytest.raises(KeyboardInterrupt):
            cut_off([], work)
        with handover.stage("s", lambda: []):
            assert (place / "scratch" / "s" / "row").read_text() == "done"
        assert not (place / "scratch" / "s.handover").exists(), "the next run begins anew"

    def test_inputs_are_those_of_this_run(self, bucket: Bucket, place: Path, tmp_path: Path):
        (place / "posts").write_text("old")
        with pytest.raises(KeyboardInterrupt):
            cut_off(["posts"], Handover.push)
        (place / "posts").write_text("new")
        with handover.stage("s", lambda: ["posts"]):
            handover.current().push()
            worker = end(tmp_path / "away")
            worker.url = handover.current().url
            worker.pull()
        assert (tmp_path / "away" / "posts").read_text() == "new"
        assert (place / "posts").read_text() == "new"

    @pytest.mark.parametrize("path", ["/data/feed", "../feed"])
    def test_an_input_outside_of_the_workspace_is_told(self, path: str, place: Path):
        with pytest.raises(ValueError, match=f"{path} is outside of the workspace"), handover.stage("s", lambda: [path]):
            pass

    @pytest.mark.parametrize(
        ("setting", "url", "told"), [("S3", "s3://b", "must be files or s3"), ("s3", "", "BOIG_HANDOVER=s3 needs BOIG_S3_URL")]
    )
    def test_a_setting_that_cannot_be_followed_is_told(
        self, setting: str, url: str, told: str, place: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("BOIG_HANDOVER", setting)
        monkeypatch.setenv("BOIG_S3_URL", url)
        with pytest.raises(ValueError, match=told), handover.stage("s", lambda: []):
            pass

    def test_where_nodes_mount_the_workspace_nothing_is_handed_over(self, bucket: Bucket, place: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("BOIG_HANDOVER")
        with handover.stage("s", lambda: ["../feed"]):
            assert handover.current() is None
            handover.collect()
        assert not bucket.objects


@pytest.mark.slow
def test_on_a_real_server(s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handover, "_store", handover._store.__wrapped__)
    first, second = (Handover("s3://boig/handed", tmp_path / name, (), "scratch/s", "mark", away=True) for name in ("one", "two"))
    for number, one in enumerate((first, second)):
        (one.root / "scratch" / "s").mkdir(parents=True)
        (one.root / "scratch" / "s" / str(number)).write_text(str(number))
        one.push()
    first.pull()
    assert written(tmp_path / "one") == written(tmp_path / "two") == {"scratch/s/0": "0", "scratch/s/1": "1"}
