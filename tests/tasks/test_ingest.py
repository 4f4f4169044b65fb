"""Feeds into the `posts` contract: the simulated one with all its dirt, tables, the real pictures, and feeds that cannot be used."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from boig import params
from boig.contracts import NEGATIVES, PICTURES, POSTS, QUARANTINE, SPLITS, TRUTH
from boig.feed import REASONS, SKIPS
from boig.feed.reading import feed_root, picture_keys
from boig.sections.ingest import Ingest
from tasks import ingest, simulate

EOIG = Path("../shared/data/eoig")


def section(**changes: object) -> Ingest:
    """The default section, some dotted keys changed."""
    raw = params.read(Path("params.yaml"))["ingest"]
    for key, value in changes.items():
        place = raw
        *path, last = key.split("__")
        for step in path:
            place = place[step]
        place[last] = value
    return Ingest.model_validate(json.loads(json.dumps(raw)))


def run(chosen: Ingest, root: Path, batch_size: int = 50) -> dict:
    """What the flow does, without Ray."""
    intake = ingest.read(chosen)
    rows = [{"picture": name} for name in picture_keys(intake.rows)]
    reader = ingest.PictureReader(str(feed_root(Path(chosen.feed))), chosen.picture, chosen.fetch)
    found = [row for start in range(0, len(rows), batch_size) for row in reader(rows[start : start + batch_size])]
    return ingest.assemble(chosen, intake, found, root)


def frames(root: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return tuple(contract.read(root).to_pandas() for contract in (POSTS, NEGATIVES, PICTURES, QUARANTINE))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, dict]:
    """Workspace, metrics of simulate, metrics of ingest."""
    root = tmp_path_factory.mktemp("workspace")
    small = params.load("simulate").model_copy(update={"posts": 500})
    plan = simulate.plan(small)
    painted = [row["painted"] for row in simulate.Painter(64)(simulate.paint_rows(plan))]
    (root / "staging").mkdir()
    told = simulate.write(small, plan, painted, root / "staging")
    simulate.publish(root / "staging", root)
    return root, told, run(section(feed=str(root / "data" / "feed")), root)


def test_every_row_is_accounted_for(simulated: tuple[Path, dict, dict]) -> None:
    root, _, metrics = simulated
    posts, _, pictures, quarantine = frames(root)
    assert metrics["rows_in"] == metrics["ok"] + metrics["failed"] + metrics["skipped"]
    assert (metrics["ok"], metrics["failed"], metrics["pictures"]) == (len(posts), len(quarantine), len(pictures))
    assert Counter(quarantine["reason"]) == metrics["failed_by_reason"]
    assert set(metrics["failed_by_reason"]) <= set(REASONS)
    assert set(metrics["skipped_by_reason"]) <= set(SKIPS)
    assert sum(metrics["split_sizes"].values()) == len(posts)


def test_all_dirt_is_found(simulated: tuple[Path, dict, dict]) -> None:
    root, told, metrics = simulated
    dirt, failed, skipped = told["dirt"], metrics["failed_by_reason"], metrics["skipped_by_reason"]
    assert failed["broken_line"] == dirt["broken_line"]
    assert failed["missing_picture"] == dirt["missing_media"]
    assert failed["unreadable_picture"] == dirt["truncated_picture"]
    assert failed.get("picture_too_large", 0) + failed.get("picture_too_small", 0) == dirt["absurd_size"]
    for ours, theirs in (("retweet", "retweet"), ("video", "video"), ("deleted", "deleted"), ("superseded", "changed_likes")):
        assert skipped[ours] == dirt[theirs]
    assert dirt["duplicate"] <= skipped["duplicate"] <= dirt["duplicate"] + dirt["preview"]
    posts = frames(root)[0].set_index("post_id")
    truth = TRUTH.read(root).to_pandas().set_index("post_id")
    assert (posts["kpi_raw"] == truth["likes"].reindex(posts.index)).all()
    copies = [(p, s) for p, s in truth["source"].items() if p != s and p in posts.index and s in posts.index]
    assert np.mean([posts["group"][p] == posts["group"][s] for p, s in copies]) >= 0.8


def test_posts_keep_what_the_contract_says(simulated: tuple[Path, dict, dict]) -> None:
    posts, negatives, pictures, _ = frames(simulated[0])
    assert posts["post_id"].is_unique
    assert posts["kpi"].between(0, 100).all()
    assert set(posts["split"]) <= set(SPLITS)
    assert set(posts["industry"]) == {"beauty", "fashion", "food", "tech", "travel", "home"}
    assert not posts["caption"].str.contains("https://|&amp;|@").any()
    assert posts.groupby("group")["split"].nunique().max() == 1
    assert set(posts["picture_id"]) == set(pictures["picture_id"])
    held = set(posts.loc[posts["split"] == "test_account", "account"])
    assert len(held) == 4
    assert not held & set(posts.loc[posts["split"] != "test_account", "account"])
    train = posts[posts["split"] == "train"].set_index("post_id")
    assert set(negatives["post_id"]) <= set(train.index)
    assert set(negatives["picture_id"]) <= set(train["picture_id"])
    assert len(negatives) / (len(negatives) + len(train)) == pytest.approx(0.126, abs=0.01)
    newest = posts.loc[posts["split"] == "test_time", "created_at"].min()
    assert (posts.loc[posts["split"].isin(["train", "judge", "val"]), "created_at"] < newest).all()


def test_equal_feeds_give_equal_bytes_whatever_the_batches(simulated: tuple[Path, dict, dict], tmp_path: Path) -> None:
    root, _, metrics = simulated
    assert run(section(feed=str(root / "data" / "feed")), tmp_path, batch_size=7) == metrics
    for contract in (POSTS, NEGATIVES, PICTURES, QUARANTINE):
        assert (tmp_path / contract.path).read_bytes() == (root / contract.path).read_bytes()


def table(folder: Path, accounts: int = 8, per_account: int = 6, **changes: object) -> Path:
    """A feed in a CSV file: noise pictures, random likes."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(accounts * per_account):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        rows.append({
            "id": str(i), "account": f"a{i % accounts}", "time": f"2024-{1 + i % 12:02}-01", "picture": f"{i}.png",
            "kpi": int(rng.integers(50, 999)), "caption": "Hi", "industry": "food",
        } | changes)  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "posts.csv", index=False)
    return folder


def test_a_table(tmp_path: Path) -> None:
    metrics = run(section(feed=str(table(tmp_path))), tmp_path)
    assert (metrics["rows_in"], metrics["ok"], metrics["accounts"]) == (48, 48, 8)


def test_several_pictures_of_one_post_stay_together(tmp_path: Path) -> None:
    folder = table(tmp_path)
    frame = pd.read_csv(folder / "posts.csv", dtype=str)
    pair = frame.index // 16
    frame["id"], frame["time"] = pair.astype(str) + frame["account"], [f"2024-{1 + p:02}-01" for p in pair]
    frame.to_csv(folder / "posts.csv", index=False)
    run(section(feed=str(folder)), tmp_path)
    posts = POSTS.read(tmp_path).to_pandas()
    assert len(posts) == 48
    assert posts["post_id"].is_unique
    assert {p[-2:] for p in posts["post_id"]} == {"_1", "_2"}
    assert posts.groupby(posts["post_id"].str[:-2])["group"].nunique().max() == 1


def test_an_account_with_one_post_is_left_out(tmp_path: Path) -> None:
    folder = table(tmp_path)
    frame = pd.read_csv(folder / "posts.csv")
    frame.loc[0, "account"] = "lonely"
    frame.to_csv(folder / "posts.csv", index=False)
    metrics = run(section(feed=str(folder)), tmp_path)
    assert metrics["skipped_by_reason"] == {"small_account": 1}
    assert "lonely" not in set(POSTS.read(tmp_path).to_pandas()["account"])


def test_old_posts_are_ranked_beside_the_newest_and_left_out(tmp_path: Path) -> None:
    feed = str(table(tmp_path))
    run(section(feed=feed), tmp_path / "all")
    metrics = run(section(feed=feed, newest_days=100), tmp_path / "newest")
    everything, newest = (POSTS.read(tmp_path / name).to_pandas().set_index("post_id") for name in ("all", "newest"))
    assert metrics["skipped_by_reason"] == {"too_old": 32}
    assert set(newest.index) == set(everything.index[everything["created_at"] >= "2024-09-01"])
    assert (newest["kpi_raw"] == everything["kpi_raw"][newest.index]).all()
    assert newest["kpi"].nunique() > newest.groupby("account").size().max()  # ranks among all of an account's posts, not among these
    held = newest["split"] == "test_time"
    assert newest["created_at"][held].min() >= newest["created_at"][newest["split"].isin(["train", "judge", "val"])].max()
    assert set(PICTURES.read(tmp_path / "newest").to_pandas()["picture_id"]) == set(newest["picture_id"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kpi": 77}, r"the KPI is constant \(77\)"),
        ({"kpi": 3}, r"no row is left \(below_floor 48\)"),
        ({"picture": "gone.png"}, r"no row is left \(missing_picture 48\)"),
        ({"picture": "../../../etc/passwd"}, r"no row is left \(missing_picture 48\)"),
        ({"picture": "https://pbs.twimg.com/a.jpg"}, r"no row is left \(fetch_refused 48\)"),
        ({"kpi": "many"}, r"none of its 48 rows can be used \(bad_kpi\)"),
        ({"account": "one"}, "splits.test_accounts is 4 but the feed has 1 accounts"),
    ],
)
def test_feeds_that_cannot_be_used_say_so_and_leave_nothing(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(section(feed=str(table(tmp_path, **changes))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not (EOIG / "posts.csv").is_file(), reason="the shared table of real pictures is not on this machine")
def test_the_real_pictures(tmp_path: Path) -> None:
    columns = {
        "id": "tweet_id", "account": "company", "time": "created_at", "picture": "image", "kpi": "engagement",
        "caption": "", "industry": "", "observed": "",
    }  # fmt: skip
    rule = params.load("ingest").kpi.model_dump() | {
        "scale": "given", "floor_low": 0, "floor_medium": 0, "floor_high": 0, "min_account_posts": 1,
    }  # fmt: skip
    metrics = run(section(feed=str(EOIG), columns=columns, kpi=rule, picture__store_px=64), tmp_path)
    assert (metrics["rows_in"], metrics["failed"]) == (400, 0)
    posts = POSTS.read(tmp_path).to_pandas()
    tweet = posts["post_id"].str.split("_").str[0]
    assert posts.groupby(tweet)["split"].nunique().max() == 1
    assert posts["kpi"].between(0, 100).all()
    assert metrics["ok"] > 350
