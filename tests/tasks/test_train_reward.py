import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from boig import contracts
from boig.reporting import Silent
from boig.reward.judge import Judge
from boig.reward.scorer import Reward
from tasks import train_reward as tasks
from tests.boig.reward import small

SECTION = small.section(epochs=4)
MODELS = {
    "reward", "design_reward", "judge", "account_mean", "context_gbm", "caption_only", "picture_only", "context_only", "shuffled",
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
        assert set(split) == MODELS | {"ceiling"}
        for name in MODELS:
            wanted = {"pearson", "spearman", "spearman_within", "pair_accuracy"}
            honest = {"coverage_90", "interval_width", "ece"} if name in ("reward", "design_reward") else set()
            assert set(split[name]) == wanted | honest | ({"error_correlation"} if name == "judge" else set())
            assert all(e["lo"] <= e["mean"] <= e["hi"] for e in split[name].values())
    json.dumps(metrics, allow_nan=False)


def test_the_reward_beats_the_control_with_shuffled_kpi(metrics: dict):
    assert metrics["test_time"]["shuffled"]["pearson"]["mean"] < metrics["test_time"]["reward"]["pearson"]["mean"]


def test_models_are_in_place_and_score_held_out_posts(root: Path, metrics: dict):
    posts = tasks.read(root).splits["test_time"]
    scores = Reward.load(root / tasks.REWARD).score(posts.briefs, posts.verbalizations)
    assert np.corrcoef(scores.total, posts.kpi)[0, 1] == pytest.approx(metrics["test_time"]["reward"]["pearson"]["mean"], abs=1e-4)
    assert len(Judge.load(root / tasks.JUDGE).score(posts.briefs[:3], np.zeros((3, 40, 40, 3), np.uint8))) == 3


def test_the_stage_repeats_itself_byte_by_byte(root: Path, metrics: dict, tmp_path: Path):
    copy = tmp_path / "again"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("work", "reward", "judge"))
    assert _stage(copy, copy / "work") == metrics
    for name in ("reward/head/model.safetensors", "reward/engagement.json", "judge/judge.safetensors", "judge/judge.json"):
        assert (copy / "models" / name).read_bytes() == (root / "models" / name).read_bytes()


def test_training_sees_its_own_splits_only(root: Path):
    tables = tasks.read(root)
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


def test_pictures_without_verbalization_are_left_out_until_none_is_left(root: Path, tmp_path: Path):
    table = contracts.VERBALIZED.read(root)
    n = table.num_rows
    errors = pa.array(["broken" if i % 2 else "" for i in range(n)])
    half = tasks.read(_overlay(root, tmp_path / "half", contracts.VERBALIZED, error=errors))
    assert 0 < sum(map(len, half.splits.values())) < sum(map(len, tasks.read(root).splits.values()))
    none = _overlay(root, tmp_path / "none", contracts.VERBALIZED, error=pa.array(["broken"] * n))
    with pytest.raises(ValueError, match="verbalize"):
        tasks.read(none)


def test_a_missing_language_model_or_table_is_named(root: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tasks.fit_reward(SECTION, tmp_path, Silent(), tmp_path / "nowhere", root)
    with pytest.raises(FileNotFoundError, match="is missing"):
        tasks.read(tmp_path)
