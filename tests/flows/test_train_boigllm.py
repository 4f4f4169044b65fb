"""The paper profile at its smallest: a base of its class on disk, sharded over two Ray workers, to few-shot descriptions."""

import shutil
from pathlib import Path

import pytest
import torch

from boig.cluster import connect
from boig.language import corpus, model, sft
from boig.language.examples import validation_texts
from boig.reporting import Silent
from boig.sections.train_boigllm import TrainBoigllm
from boig.verbalizer.form import Verbalization
from flows import train_boigllm as stage
from flows.workspace import overlay
from tasks import train_boigllm as tasks
from tests.boig.language.qwen import save
from tests.boig.language.world import world, write

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with posts, and with a base as its working folder's `qwen`; Ray's workers go there."""
    import ray

    root = tmp_path_factory.mktemp("paper")
    posts = world(60)
    write(root, posts)
    save(root / "qwen", posts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(ROOT)
        connect()  # its workers start where the code is
        patch.chdir(root)
        yield root
    ray.shutdown()


def section(workers: int, lora: bool = False, **training) -> TrainBoigllm:
    """`profiles/paper.yaml` with other ids, sizes and resources, and nothing else."""
    raw = overlay(ROOT, "paper")["train_boigllm"]
    sizes = {"passes": 1, "batch_size": 8, "micro_batch": 2, "evaluations": 2, "learning_rate": 1e-2}
    raw |= {"base": "qwen", "revision": None, "dtype": "float32", "resources": {"workers": workers, "cpus": 1, "gpus": 0}}
    raw["training"] |= sizes | training
    raw["lora"] = {**raw["lora"], "rank": 4, "alpha": 8} if lora else None
    raw["decoding"] |= {"draws": 1, "batch_size": 4, "max_posts": 1, "workers": 1}
    return TrainBoigllm.model_validate(raw)


@pytest.mark.parametrize("lora", [True, False])
def test_sharding_does_not_change_what_is_learnt_and_can_go_on_after_a_kill(workspace, lora):
    paper, sharded, plain = section(2, lora), workspace / f"two-{lora}", workspace / f"one-{lora}"
    assert (paper.training.sharding, paper.training.activation_checkpointing) == ("full", True)
    fitted = stage.fit.fn(paper, sharded, Silent())
    last = max((sharded / "checkpoints").glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    assert (last / "pytorch_model_fsdp_0").is_dir(), "the checkpoint is not in shards"
    alone = tasks.fit({"section": section(1, lora, sharding="none"), "folder": plain, "report": Silent()})
    assert fitted["val_loss"] == pytest.approx(alone["val_loss"], abs=1e-3)
    assert fitted["parameters"] == alone["parameters"]
    assert_close(sharded, plain, 5e-3)
    shutil.copytree(sharded / "model", sharded / "whole/model")
    shutil.rmtree(last)
    again = stage.fit.fn(paper, sharded, Silent())
    assert again["val_loss"] == pytest.approx(fitted["val_loss"], abs=1e-4)
    assert_close(sharded, sharded / "whole", 1e-3)


def test_the_best_checkpoint_is_kept_and_not_the_last(workspace):
    """Every rank has to load its shards of the same step."""
    folder = workspace / "best"
    fitted = stage.fit.fn(section(2, learning_rate=0.6, warmup_share=1.0), folder, Silent())
    assert fitted["best_step"] < fitted["steps"]
    kept, words = model.load(folder / "model")
    rows = sft.dataset(validation_texts(corpus.read().splits["val"]), words, 2048)
    losses = [float(kept(**{name: torch.tensor([row[name]]) for name in ("input_ids", "labels")}).loss) for row in rows]
    assert sum(losses) / len(losses) == pytest.approx(fitted["val_loss"], rel=0.1), "not the weights that were measured"


def assert_close(one: Path, other: Path, most: float) -> None:
    """The models of two trainings have the same weights, up to rounding."""
    first, second = (model.load(folder / "model")[0] for folder in (one, other))
    assert type(first) is type(second)
    for name, weight in second.state_dict().items():
        assert (first.state_dict()[name] - weight).abs().max() < most, name


def test_describes_with_worked_examples(workspace):
    paper = section(1, lora=True)
    tasks.fit({"section": paper, "folder": workspace / "shown", "report": Silent()})
    assert set(tasks.methods(paper)) == {"boigllm", "zero_shot", "three_shot", "five_shot"}
    for name in tasks.methods(paper):
        for row in tasks.Describer(paper, workspace / "shown", name)(tasks.questions(paper)):
            assert Verbalization.from_json(row["verbalization"]).to_json() == row["verbalization"]
