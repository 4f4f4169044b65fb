"""The align stage on a tiny base: what it reads, writes and refuses."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from boig.contracts import PICTURES, POSTS
from boig.diffusion.pipeline import load_adapter, load_base
from boig.diffusion.rollout import at_once
from boig.diffusion.world import World
from boig.params import load
from boig.reporting import Silent
from boig.reward.scorer import Scores
from boig.sections.align_boigsd import AlignBoigsd
from tasks.align_boigsd import judging, reading, running
from tasks.align_boigsd.judging import RewardWorker, contact_sheet
from tests.boig.diffusion.tiny import redness, tiny_pipeline

METHODS = ("pft", "kpi_guided", "ddpo", "boigsd")
KEYS = {"wall_s", "pictures", "unet_forwards", "reward_calls", "start_ratio_error", "reward_first", "reward_last", "kl_last"}


class Redness:
    """A judge that likes red."""

    def score(self, briefs, pictures) -> np.ndarray:
        return redness(briefs, pictures).total


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), value, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("base/diffusion")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    splits = ("train",) * 6 + ("val",) * 3 + ("test_time",)
    posts = []
    for i, split in enumerate(splits):
        who = {"post_id": str(i), "account": f"a{i % 2}", "industry": "food", "group": str(i), "split": split}
        when = {"created_at": start + timedelta(hours=i), "observed_at": start}
        liked = {"kpi_raw": 1.0, "kpi": i * 18.0, "bucket": ("low", "medium", "high")[min(i // 2, 2)]}
        posts.append(who | when | liked | {"caption": f"Our new cup {i} #sale <hyperlink>", "picture_id": f"{i:016d}"})
    POSTS.write(posts)
    pictures = [{"picture_id": f"{i:016d}", "png": png(i * 20), "width": 24, "height": 20, "phash": "0" * 16} for i in range(10)]
    PICTURES.write(pictures)
    for folder in ("models/reward", "models/judge"):
        Path(folder).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def section(request) -> AlignBoigsd:
    """The default section, scaled down."""
    raw = load("align_boigsd", Path(request.config.rootpath) / "params.yaml").model_dump()
    lora = {"rank": 2, "alpha": 2, "targets": ("to_q", "conv1")}
    small = {"iterations": 2, "lora": lora}
    fast = {"steps": 2, "chunk": 4, "chunks_per_update": 1}
    drawn = {"sampling": {"steps": 2, "guidance": 1.0, "kpi": None}}
    raw |= {
        "pft": raw["pft"] | small | drawn | {"batch_size": 2, "floor": 40},
        "kpi_guided": raw["kpi_guided"] | small | {"batch_size": 2, "sampling": {"steps": 2, "guidance": 2.0, "kpi": ("high", "low")}},
        "ddpo": raw["ddpo"] | small | fast | drawn | {"pictures": 8, "prompts": 3},
        "boigsd": raw["boigsd"]
        | small
        | fast
        | drawn
        | {"prompts": 2, "group": 4, "skip_last": 1, "weights": {"total": 1.0, "diversity": 0.2}},
        "panel": raw["panel"] | {"prompts": 2, "seeds": 2, "shown": 2, "looks": 2, "batch_size": 4},
    }
    return AlignBoigsd.model_validate(raw)


def trained(section: AlignBoigsd, method: str, folder: Path, report=None, judge=None) -> dict:
    ticks = iter(range(1000))
    return running.train(
        section, method, folder, at_once(redness), judge or Redness(), report or Silent(), World(), lambda: float(next(ticks))
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_ends_in_an_adapter_with_its_metrics(workspace, section, method):
    found = trained(section, method, Path("scratch/x"))
    assert set(found) >= KEYS
    assert found["pictures"] > 0
    assert found["unet_forwards"] > 0
    if method in ("ddpo", "boigsd"):
        assert found["start_ratio_error"] <= 1e-6
        assert found["reward_calls"] == found["pictures"] == 16
    json.dumps(found, allow_nan=False)
    out = running.place(Path("scratch/x"))
    assert out == Path("models/boigsd")
    assert not Path("scratch/x").exists()
    assert {p.name for p in (out / method).iterdir()} == {"pytorch_lora_weights.safetensors", "sampling.json", "curves.json", "panel"}
    assert [p.stem for p in sorted((out / method / "panel").iterdir())] == ["0000", "0001", "0002"]
    assert [p.name for p in sorted((out / "contact").iterdir())] == [f"{method}_000{i}.png" for i in (0, 1, 2)]
    assert load_adapter(load_base("base/diffusion", ""), out / method) == getattr(section, method).sampling


class Dies(Silent):
    """A report that ends the process's work at the second point of the curves."""

    def curve(self, step, **values):
        if step == 2:
            raise KeyboardInterrupt


def test_a_killed_stage_ends_in_the_same_bytes(workspace, section):
    trained(section, "boigsd", Path("scratch/whole"))
    with pytest.raises(KeyboardInterrupt):
        trained(section, "boigsd", Path("scratch/cut"), report=Dies())
    torch.rand(5)
    found = trained(section, "boigsd", Path("scratch/cut"))
    assert found["wall_s"] > 0
    whole, cut = running.place(Path("scratch/whole"), Path("a")), running.place(Path("scratch/cut"), Path("b"))
    assert contents(whole) == contents(cut)


def test_prompts_are_captions_without_tags_and_links(workspace):
    found = reading.prompts("train")
    assert [brief.post_id for brief, _ in found] == [str(i) for i in range(6)]
    assert all("#" not in text and "<" not in text and "cup" in text for _, text in found)
    with pytest.raises(ValueError, match="judge"):
        reading.prompts("judge")


def test_the_panel_is_held_out_and_of_different_accounts(workspace):
    found = reading.panel(2, seed=1)
    assert {brief.account for brief, _ in found} == {"a0", "a1"}
    assert {brief.post_id for brief, _ in found} <= {"6", "7", "8"}
    assert found == reading.panel(2, seed=1)


def test_pictures_are_read_once_with_their_kpi(workspace):
    found = reading.examples(load_base("base/diffusion", ""))
    assert found.latents.shape == (6, 4, 4, 4)
    assert found.kpi.tolist() == [0, 18, 36, 54, 72, 90]
    assert found.buckets == ("low", "low", "medium", "medium", "high", "high")
    assert reading.examples(load_base("base/diffusion", ""), floor=60).kpi.tolist() == [72, 90]
    with pytest.raises(ValueError, match="KPI of 95"):
        reading.examples(load_base("base/diffusion", ""), floor=95)


def test_the_reward_worker_scores_verbalized_pictures(section, monkeypatch):
    def service(briefs, pictures):
        values = pictures.mean((1, 2, 3))
        return Scores(values, {"engagement": values + 1}, values)

    monkeypatch.setattr(judging.Service, "load", lambda verbalizer, reward, weights, device: service)
    found = RewardWorker(section.verbalizer, section.reward)([None, None], np.array([10, 20], np.uint8).reshape(2, 1, 1, 1).repeat(3, 3))
    assert found.total.tolist() == [10, 20]
    assert found.parts["engagement"].tolist() == [11, 21]


def test_a_contact_sheet_shows_each_picture_once():
    pictures = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), np.uint8)
    sheet = contact_sheet(pictures, columns=2, gap=1)
    assert sheet.shape == (20, 17, 3)
    assert [int((sheet[..., 0] == value).sum()) for value in range(5)] == [48] * 5
    assert sheet[-1, -1].tolist() == [255] * 3


@pytest.mark.parametrize("missing", ["base/diffusion", "models/reward", "models/judge", "data/posts"])
def test_what_is_missing_is_named_before_anything_starts(workspace, section, missing):
    running.check(section)
    Path(missing).rename("elsewhere")
    with pytest.raises(FileNotFoundError, match=missing) as caught:
        running.check(section)
    assert "\n" not in str(caught.value)
