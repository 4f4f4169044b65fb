import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from boig import contracts
from boig.reporting import Silent
from boig.reward.judge import Judge
from boig.reward.predictions import kept
from boig.reward.scorer import Reward
from boig.reward.tables import read
from tasks import train_reward as tasks
from tests.boig.reward import small

SECTION = small.section(epochs=4)
MODELS = {
    "reward", "design_reward", "judge", "account_mean", "context_gbm", "caption_only", "picture_ridge", "picture_only",
    "context_only", "shuffled",
}  # fmt: skip


def _stage(root: Path, work: Path) -> dict:
    llm = root / small.BOIGLLM
    tasks.fit_reward(SECTION, work, Silent(), llm, root)
    tasks.fit_judge(SECTION, work, Silent(), root)
    tasks.fit_controls(SECTION, work, Silent(), llm, root)
    metrics = tasks.measure(SECTION, work, root)
    tasks.publish(work, root)
    return metrics


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage")
    small.workspace(folder)
    return folder


@pytest.fixture(scope="module")
def metrics(root: Path) -> dict:
    return _stage(root, root / "work")


def test_the_table_has_every_model_on_every_split(metrics: dict):
    assert set(metrics) == {"val", "test_time", "test_account"}
    for split in metrics.values():
        assert set(split) == MODELS | {"ceiling", "ceiling_pairs"}
        for name in MODELS:
            row = dict(split[name])
            wanted = {"pearson", "spearman", "spearman_within", "pair_accuracy"}
            wanted |= {"coverage_90", "interval_width", "ece"} if name in ("reward", "design_reward") else set()
            wanted |= {"matched", "mismatched", "mismatch_auc"} if name in ("reward", "design_reward", "judge") else set()
            wanted |= {"pair_accuracy_all"} if name == "reward" else set()
            by_group, ahead = row.pop("coverage_by_group", {}), row.pop("spearman_ahead", {})
            assert set(ahead) == ({"account_mean", "picture_ridge"} if name == "reward" else set())
            assert bool(by_group) == (name in ("reward", "design_reward"))
            assert row.pop("pearson_spread", 0) >= 0
            assert set(row) == wanted | ({"error_correlation"} if name == "judge" else set())
            estimates = [*row.values(), *ahead.values(), *(e for group in by_group.values() for e in group.values())]
            assert all(e["lo"] <= e["mean"] <= e["hi"] for e in estimates)
    json.dumps(metrics, allow_nan=False)


def test_the_reward_is_ahead_by_the_difference_of_the_rows(metrics: dict):
    for split in metrics.values():
        for name, difference in split["reward"]["spearman_ahead"].items():
            assert difference["mean"] == pytest.approx(split["reward"]["spearman"]["mean"] - split[name]["spearman"]["mean"], abs=1e-5)


def test_the_ridge_is_there_where_asked_for_and_is_not_fitted_twice(root: Path, metrics: dict, tmp_path: Path, monkeypatch):
    shutil.copytree(root / "work", tmp_path / "work")
    monkeypatch.setattr(tasks.baselines, "picture_ridge", None)
    tasks.fit_controls(SECTION, tmp_path / "work", Silent(), root / small.BOIGLLM, root)
    assert np.array_equal(kept(tmp_path / "work", "picture_ridge", "val"), kept(root / "work", "picture_ridge", "val"))
    (tmp_path / "work/predictions/picture_ridge.npz").unlink()
    without = SECTION.model_copy(update={"controls": SECTION.controls.model_copy(update={"picture_ridge": False})})
    tasks.fit_controls(without, tmp_path / "work", Silent(), root / small.BOIGLLM, root)
    measured = tasks.measure(without, tmp_path / "work", root)
    assert all("picture_ridge" not in split and set(split["reward"]["spearman_ahead"]) == {"account_mean"} for split in measured.values())


def test_coverage_by_group_knows_who_was_seen(metrics: dict):
    by_group = {split: metrics[split]["reward"]["coverage_by_group"] for split in metrics}
    assert all(name.startswith("known ") for name in by_group["val"])
    assert all(name.startswith("unknown ") for name in by_group["test_account"])
    for split, groups in by_group.items():
        assert sum(g["coverage_90"]["n"] for g in groups.values()) == metrics[split]["reward"]["coverage_90"]["n"]


def test_mismatched_pairs_are_apart_and_below_for_who_sees_products(root: Path, metrics: dict):
    tables = read(root)
    for split in metrics:
        rows = {name: metrics[split][name] for name in ("reward", "design_reward", "judge")}
        assert len({r["mismatch_auc"]["n"] for r in rows.values()}) == 1
        assert metrics[split]["reward"]["pearson"]["n"] == len(tables.splits[split])
    auc = [metrics[split]["reward"]["mismatch_auc"]["mean"] for split in metrics]
    assert np.mean(auc) > 0.5


def test_the_control_is_the_mean_of_its_shuffles(root: Path, metrics: dict):
    posts = read(root).splits["test_time"]
    draws = [kept(root / "work", f"shuffled_{i}", "test_time")[0] for i in range(SECTION.controls.shuffles)]
    pearson = [np.corrcoef(d, posts.kpi)[0, 1] for d in draws]
    assert metrics["test_time"]["shuffled"]["pearson"]["mean"] == pytest.approx(np.mean(pearson), abs=1e-4)
    assert pearson[0] != pytest.approx(pearson[1], abs=1e-3)


def test_intervals_of_unknown_accounts_come_from_rewards_that_have_not_seen_them(root: Path, metrics: dict):
    seen, unseen = (kept(root / "work", "reward", name) for name in ("val", "val_unknown"))
    assert seen.shape == unseen.shape
    assert not np.isclose(seen[0], unseen[0]).any()
    quantiles = Reward.load(root / tasks.REWARD).calibration.quantiles
    kpi = read(root).splits["val"].kpi
    for name, scores in (("known", seen), ("unknown", unseen)):
        assert (np.abs(kpi - scores[0]) <= quantiles[name] * scores[1]).mean() >= 0.9


def test_without_folds_accounts_are_hidden_from_the_whole_reward(root: Path, tmp_path: Path):
    section = SECTION.model_copy(update={"unknown_folds": 0})
    tasks.fit_reward(section, tmp_path, Silent(), root / small.BOIGLLM, root)
    posts = read(root).splits["val"]
    hidden = [replace(b, account="") for b in posts.briefs]
    shutil.copytree(root / small.BOIGLLM, tmp_path / small.BOIGLLM)
    scores = Reward.load(tmp_path / "reward").score(hidden, posts.verbalizations)
    assert kept(tmp_path, "reward", "val_unknown")[0] == pytest.approx(scores.total, abs=1e-6)


def test_the_reward_beats_the_control_with_shuffled_kpi(metrics: dict):
    assert metrics["test_time"]["shuffled"]["pearson"]["mean"] < metrics["test_time"]["reward"]["pearson"]["mean"]


def test_models_are_in_place_and_score_held_out_posts(root: Path, metrics: dict):
    posts = read(root).splits["test_time"]
    scores = Reward.load(root / tasks.REWARD).score(posts.briefs, posts.verbalizations)
    assert np.corrcoef(scores.total, posts.kpi)[0, 1] == pytest.approx(metrics["test_time"]["reward"]["pearson"]["mean"], abs=1e-4)
    assert len(Judge.load(root / tasks.JUDGE).score(posts.briefs[:3], np.zeros((3, 40, 40, 3), np.uint8))) == 3


def test_the_stage_repeats_itself_byte_by_byte(root: Path, metrics: dict, tmp_path: Path):
    copy = tmp_path / "again"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("work", "reward", "judge"))
    assert _stage(copy, copy / "work") == metrics
    for name in (
        "reward/head/model.safetensors",
        "reward/engagement.json",
        "reward/trees.txt",
        "judge/judge.safetensors",
        "judge/judge.json",
    ):
        assert (copy / "models" / name).read_bytes() == (root / "models" / name).read_bytes()


def test_training_sees_its_own_splits_only(root: Path):
    tables = read(root)
    split = {r["post_id"]: r["split"] for r in contracts.POSTS.read(root).to_pylist()}
    assert {split[b.post_id] for b in tables.training().briefs} == {"train"}
    assert {split[b.post_id] for b in tables.splits["judge"].briefs} == {"judge"}
    assert len(tables.training()) == len(tables.splits["train"]) + len(tables.splits["negative"])


def _overlay(root: Path, to: Path, contract: contracts.Contract, **columns: pa.Array) -> Path:
    shutil.copytree(root, to, ignore=shutil.ignore_patterns("work"))
    table = contract.read(to)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    contract.write(table, to)
    return to


def test_a_constant_kpi_is_an_error(root: Path, tmp_path: Path):
    n = contracts.POSTS.read(root).num_rows
    world = _overlay(root, tmp_path / "w", contracts.POSTS, kpi=pa.array([5.0] * n))
    contracts.NEGATIVES.write(contracts.NEGATIVES.read(world).slice(0, 0), world)
    with pytest.raises(ValueError, match="constant"):
        tasks.fit_reward(SECTION, tmp_path / "work", Silent(), world / small.BOIGLLM, world)
    with pytest.raises(ValueError, match="split judge"):
        tasks.fit_judge(SECTION, tmp_path / "work", Silent(), world)


@pytest.mark.parametrize("kpi", [150.0, -1.0, float("nan")])
def test_a_kpi_outside_of_the_scale_is_an_error(root: Path, tmp_path: Path, kpi: float):
    values = contracts.POSTS.read(root)["kpi"].to_pylist()
    world = _overlay(root, tmp_path / "w", contracts.POSTS, kpi=pa.array([*values[:-1], kpi]))
    with pytest.raises(ValueError, match=rf"post 'p\d+': kpi is {kpi}, must be within 0–100; run ingest again"):
        tasks.fit_reward(SECTION, tmp_path / "work", Silent(), world / small.BOIGLLM, world)
    with pytest.raises(ValueError, match="within 0–100"):
        tasks.fit_judge(SECTION, tmp_path / "work", Silent(), world)


def test_a_loss_that_is_not_a_number_stops_the_stage(root: Path, tmp_path: Path):
    hot = SECTION.model_copy(update={"fit": SECTION.fit.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})})
    with pytest.raises(ValueError, match=r"train_reward: the loss is .* at step \d+; lower train_reward.fit.learning_rate"):
        tasks.fit_reward(hot, tmp_path, Silent(), root / small.BOIGLLM, root)


def test_a_leak_stops_both_trainings(root: Path, tmp_path: Path):
    table = contracts.POSTS.read(root)
    judge = next(r for r in table.to_pylist() if r["split"] == "judge")
    world = _overlay(root, tmp_path / "w", contracts.NEGATIVES)
    rows = contracts.NEGATIVES.read(world).to_pylist()
    contracts.NEGATIVES.write([rows[0] | {"picture_id": judge["picture_id"]}, *rows[1:]], world)
    for fit in (
        lambda: tasks.fit_reward(SECTION, tmp_path / "work", Silent(), world / small.BOIGLLM, world),
        lambda: tasks.fit_judge(SECTION, tmp_path / "work", Silent(), world),
    ):
        with pytest.raises(ValueError, match="takes from split judge"):
            fit()


def test_pictures_without_verbalization_are_left_out_until_none_is_left(root: Path, tmp_path: Path):
    table = contracts.VERBALIZED.read(root)
    n = table.num_rows
    errors = pa.array(["broken" if i % 2 else "" for i in range(n)])
    half = read(_overlay(root, tmp_path / "half", contracts.VERBALIZED, error=errors))
    assert 0 < sum(map(len, half.splits.values())) < sum(map(len, read(root).splits.values()))
    none = _overlay(root, tmp_path / "none", contracts.VERBALIZED, error=pa.array(["broken"] * n))
    with pytest.raises(ValueError, match="verbalize"):
        read(none)


def test_a_missing_language_model_or_table_is_named(root: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tasks.fit_reward(SECTION, tmp_path, Silent(), tmp_path / "nowhere", root)
    with pytest.raises(FileNotFoundError, match="is missing"):
        read(tmp_path)
