"""The simulated feed as a whole: bytes, counts, truth."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from boig import params
from boig.contracts import TRUTH
from boig.sections.simulate import Simulate
from boig.simulator.law import Law
from tasks import simulate

POSTS = 400


@cache
def section() -> Simulate:
    return params.load("simulate").model_copy(update={"posts": POSTS})


@cache
def plan() -> simulate.Plan:
    return simulate.plan(section())


@cache
def painted() -> list:
    return [row["painted"] for row in simulate.Painter(64)(simulate.paint_rows(plan()))]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("feed")
    (root / "staging").mkdir()
    metrics = simulate.write(section(), plan(), painted(), root / "staging")
    return simulate.publish(root / "staging", root), metrics


def test_equal_parameters_give_equal_bytes(feed: tuple[Path, dict], tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    simulate.keep(staging, painted())
    (staging / simulate.FEED).mkdir(parents=True)
    (staging / simulate.FEED / "left over").touch()  # of an interrupted run
    metrics = simulate.write(section(), plan(), simulate.kept(staging), staging)
    assert metrics == feed[1]
    assert files(simulate.publish(staging, tmp_path)) == files(feed[0])
    assert not staging.exists()


def test_metrics_tell_what_is_there(feed: tuple[Path, dict]) -> None:
    folder, metrics = feed
    dirt = metrics["dirt"]
    assert metrics["posts"] == POSTS + dirt["retweet"] + dirt["video"]
    assert metrics["pictures"] == len(list((folder / "media").iterdir())) == POSTS + dirt["preview"] - dirt["missing_media"]
    assert min(dirt.values()) >= 1
    assert sum(metrics["variance_share"].values()) == pytest.approx(1)
    assert metrics["law_seed"] == section().law_seed
    ceiling = json.loads((folder / "ceiling.json").read_text())
    assert ceiling == {"ceiling": metrics["ceiling"], "pair_accuracy": metrics["pair_accuracy"]}
    assert set(ceiling["ceiling"]) == {"val", "test_time", "test_account"}
    assert all(0.5 < value < 0.95 for value in ceiling["ceiling"].values())


def test_the_truth_adds_up(feed: tuple[Path, dict]) -> None:
    folder, _ = feed
    truth = TRUTH.read(folder.parent.parent).to_pandas()
    log_likes = truth[["course", "context", "picture", "noise"]].sum(axis=1)
    assert np.abs(np.rint(np.expm1(log_likes)).clip(0) - truth["likes"]).max() == 0
    assert Law.load(folder / "truth" / "law.json") == plan().law


def test_the_latest_sighting_has_the_final_likes(feed: tuple[Path, dict]) -> None:
    folder, _ = feed
    final = TRUTH.read(folder.parent.parent).to_pandas().set_index("post_id")["likes"]
    seen: dict[str, tuple[str, int]] = {}
    for path in sorted((folder / "pages").iterdir()):
        for line in path.read_text().splitlines():
            if not line.endswith("}}") or not isinstance(json.loads(line)["data"], list):
                continue
            page = json.loads(line)
            for post in page["data"]:
                sighting = (page["meta"]["observed_at"], post["public_metrics"]["like_count"])
                seen[post["id"]] = max(seen.get(post["id"], sighting), sighting)
    assert all(seen[post_id][1] == likes for post_id, likes in final.items())


def test_rules_of_ingest_are_those_of_the_ceiling() -> None:
    simulated, ingested = params.load("simulate"), params.load("ingest")
    assert simulated.kpi == ingested.kpi
    assert simulated.splits == ingested.splits
    for profile in sorted(Path("profiles").glob("*.yaml")):
        changed = params.read(profile)
        ours, theirs = changed.get("simulate", {}), changed.get("ingest", {})
        if "feed" not in theirs:  # a feed of one's own has no ceiling
            assert {key: ours.get(key) for key in ("kpi", "splits")} == {key: theirs.get(key) for key in ("kpi", "splits")}, profile
