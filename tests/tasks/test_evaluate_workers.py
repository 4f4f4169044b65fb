"""What runs on Ray in the evaluate stage: the painter on a tiny base, the scorer with the shipped eyes and fake opinions."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from boig.brief import Brief
from boig.diffusion.pipeline import adapter_parameters, add_adapter, load_base, save_adapter
from boig.diffusion.settings import Lora, Sampling
from boig.evaluation.settings import FeatureBackend, TextBackend, Verbalizing
from boig.params import load
from boig.reward import service
from boig.reward.scorer import Scores
from boig.simulator.law import Law
from boig.simulator.render import Product, Scene, render
from tasks.evaluate import score
from tasks.evaluate.paint import Painter, from_png, to_png
from tasks.evaluate.score import Eyes, Scorer, TrueEye
from tests.boig.diffusion.tiny import tiny_pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def painter(tmp_path_factory) -> Painter:
    root = tmp_path_factory.mktemp("painter")
    tiny_pipeline().save_pretrained(root / "base")
    pipe = load_base(str(root / "base"), "")
    for name, kpi in (("boigsd", None), ("kpi_guided", ("high", "low"))):
        add_adapter(pipe, Lora(rank=2, alpha=8, targets=("to_q", "to_v", "conv1")), seed=1)
        for parameter in adapter_parameters(pipe).values():
            parameter.data.fill_(0.3)
        save_adapter(pipe, root / "adapters" / name, Sampling(steps=2, guidance=1.0 if kpi is None else 2.0, kpi=kpi))
    return Painter(str(root / "base"), "", str(root / "adapters"), 2, 1.5, "cpu", "float32", 4)


def job(key: str, adapter: str, seed: int, bucket: str = "") -> dict:
    return {"key": key, "brief": 0, "adapter": adapter, "bucket": bucket, "prompt": "a cup", "seed": seed}


def test_pictures_depend_on_adapter_bucket_prompt_and_seed_alone(painter):
    rows = [job("a", "", 1), job("b", "boigsd", 1), job("c", "", 2), job("d", "kpi_guided", 1, "low"), job("e", "kpi_guided", 1, "high")]
    drawn = painter(rows)
    assert [r["key"] for r in drawn] == list("abcde")
    assert len({r["png"] for r in drawn}) == 5
    assert [r["unet_forwards"] for r in drawn] == [4, 2, 4, 4, 4]
    again = painter([rows[4], rows[0], rows[1] | {"key": "z"}])
    assert [r["png"] for r in again] == [drawn[4]["png"], drawn[0]["png"], drawn[1]["png"]]


def test_unknown_adapter_is_named(painter):
    with pytest.raises(FileNotFoundError, match="no_such"):
        painter([job("a", "no_such", 1)])


class Opinion:
    """Reward and judge in one: likes red."""

    @classmethod
    def load(cls, *_, **__) -> "Opinion":
        return cls()

    def score(self, briefs, shown):
        if isinstance(shown, np.ndarray):
            return shown[..., 0].mean((1, 2))
        red = np.array([sum(c.coverage for c in v.colors if "Red" in c.name) for v in shown])
        return Scores(red, {}, np.zeros(len(red)))


@pytest.fixture(scope="module")
def law() -> Law:
    return Law.from_seed(3)


@pytest.fixture
def world(tmp_path, monkeypatch, law) -> tuple[Eyes, Brief]:
    monkeypatch.setattr(service, "Reward", Opinion)
    monkeypatch.setattr(score, "Judge", Opinion)
    law.save(tmp_path / "law.json")
    section = load("evaluate", ROOT / "params.yaml")
    detector = section.verbalizer.detector.model_copy(update={"model": str(ROOT / "base/detector")})
    eyes = Eyes(
        Verbalizing(**{**dict(section.verbalizer), "detector": detector}), "", "", str(ROOT / "base/reference"), str(tmp_path / "law.json"),
        FeatureBackend(kind="reference", model=str(ROOT / "base/reference"), revision=""), TextBackend(kind="words", model="", revision=""),
        section.safety, "cpu",
    )  # fmt: skip
    account = law.accounts[0]
    return eyes, Brief("p", account.name, account.industry, datetime(2023, 5, 1, tzinfo=UTC), "New cup in store. <hyperlink>")


def scene(kind: str, color: str) -> bytes:
    return to_png(render(Scene("plain", color, color, (Product(kind, 0, "Yellow", (0.25, 0.25, 0.75, 0.75)),)), 64))


def test_scorer_sees_what_is_there(world):
    eyes, brief = world
    rows = [
        {"key": "right", "brief": brief, "png": scene("cup", "Red")},
        {"key": "other", "brief": None, "png": to_png(np.zeros((40, 80, 3), np.uint8))},
        {"key": "wrong", "brief": brief, "png": scene("shoe", "Blue")},
    ]
    right, other, wrong = Scorer(eyes, 64)(rows)
    assert set(other) == {"key", "brief", "features"}
    assert (right["mismatch"], right["agreement"], right["text_score"]) == (False, True, 1.0)
    assert (wrong["mismatch"], wrong["agreement"], wrong["text_score"]) == (True, False, 0.0)
    assert (right["unsafe"], wrong["unsafe"]) == (False, False)
    assert right["reward"] > wrong["reward"]
    assert right["judge"] > wrong["judge"]
    assert right["likes"] > 0
    assert "png" not in right
    assert np.linalg.norm(right["features"] - wrong["features"]) > 0


def test_scores_do_not_depend_on_the_batch(world):
    eyes, brief = world
    rows = [{"key": c, "brief": brief, "png": scene("cup", c)} for c in ("Red", "Blue", "White")]
    scorer = Scorer(eyes, 64)
    together, alone = scorer(rows), [scorer([row])[0] for row in rows]
    for a, b in zip(together, alone, strict=True):
        assert a["likes"] == pytest.approx(b["likes"])
        assert np.allclose(a["features"], b["features"], atol=1e-4)


def test_real_feed_has_no_law(world):
    eyes, brief = world
    bare = Eyes(**{**vars(eyes), "law": "", "reference": ""})
    found = Scorer(bare, 64)([{"key": "k", "brief": brief, "png": scene("cup", "Red")}])[0]
    assert (found["likes"], found["agreement"]) == (None, None)


def test_hindsight_agrees_with_the_scorer(world):
    eyes, brief = world
    row = {"key": "k", "brief": brief, "png": scene("cup", "Red")}
    assert TrueEye(eyes.reference, eyes.law, "cpu")([dict(row)])[0]["likes"] == pytest.approx(Scorer(eyes, 64)([row])[0]["likes"])


def test_pictures_of_other_shapes_are_cropped_to_the_middle_square():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (score.resize(wide, 5) == 200).all()
    assert (from_png(to_png(wide)) == wide).all()
