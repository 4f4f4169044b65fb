"""The evaluate stage on a tiny simulated world: fakes draw and look, everything else is real."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boig.brief import BUCKETS
from boig.contracts import PICTURES, POSTS, VERBALIZED
from boig.params import load
from boig.reporting import Silent
from boig.sections.evaluate import Evaluate
from boig.simulator.catalog import KINDS
from boig.simulator.law import Law
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene
from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization
from tasks.evaluate import held_out, looks, prompts, steps
from tasks.evaluate.methods import METHODS, chosen
from tasks.evaluate.paint import from_png, steer, to_png
from tasks.evaluate.tabulate import Table, keep, real_key

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "train", "judge", "val", "test_time", "test_account")


def shown(bucket: str) -> Verbalization:
    """What BoigLLM would say: the background depends on the wanted bucket."""
    color = {"low": "Gray", "medium": "Light_Blue", "high": "Dark_Blue"}[bucket]
    boxes = (ObjectBox("cup", (0.25, 0.25, 0.75, 0.75)),)
    return Verbalization((ColorShare(color, 0.7),), (0.0, 0.2, 0.8), boxes, f"a red cup on a {color.replace('_', ' ').lower()} background")


class World:
    """Posts of a law's accounts with rendered pictures, written as the earlier stages write them."""

    def __init__(self, root: Path, law: Law, posts: int = 120) -> None:
        rng = np.random.default_rng(0)
        names = [a.name for a in law.accounts][:8]
        rows, pictures, seen = [], [], []
        for i in range(posts):
            kind = KINDS[i % len(KINDS)]
            identifier = f"{i:016x}"
            png = to_png(render(sample_scene(rng, (kind,))))
            created = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=i)
            rows.append(
                {
                    "post_id": f"p{i:03d}", "account": names[i % 8], "industry": "food", "created_at": created, "observed_at": created,
                    "caption": f"New {kind} in store. <hyperlink>" if i % 9 else "", "kpi_raw": 50.0, "kpi": float(i % 100),
                    "bucket": "low", "picture_id": identifier, "group": f"p{i:03d}", "split": SPLITS[i % 6],
                }
            )  # fmt: skip
            pictures.append({"picture_id": identifier, "png": png, "width": 64, "height": 64, "phash": "0" * 16})
            seen.append(
                {
                    "picture_id": identifier, "version": "v", "text": "", "colors": [], "warm": 0.3, "neutral": 0.4, "cool": 0.3,
                    "objects": [], "caption": f"a {kind} on a red background", "error": "broken" if i == 4 else "",
                }
            )  # fmt: skip
        POSTS.write(rows, root)
        PICTURES.write(pictures, root)
        VERBALIZED.write(seen, root)
        (root / "data/feed/truth").mkdir(parents=True)
        law.save(root / "data/feed/truth/law.json")
        (root / "models/boigsd/boigsd").mkdir(parents=True)
        looks = [{"iteration": 5 * i, "unet_forwards": 100 * i, "reward": i, "judge": i, "diversity": 3 - i} for i in range(3)]
        (root / "models/boigsd/boigsd/curves.json").write_text(json.dumps({"looks": looks}))
        (root / "models/boigsd/boigsd/panel").mkdir()
        for i in range(3):
            picture = to_png(np.full((16, 16, 3), 10 * i + 10, np.uint8))
            panel = [{"post_id": f"p{n:03d}", "png": picture} for n in (3, 9)]
            pq.write_table(pa.Table.from_pylist(panel), root / f"models/boigsd/boigsd/panel/{5 * i:04d}.parquet")
        self.fanned: list[str] = []

    def fan_out(self, rows: list[dict], worker: type, worker_args: dict, *, batch_size: int, label: str) -> list[dict]:
        """Stands in for Ray and for the models: pictures whose brightness tells the method, and scores that follow it."""
        self.fanned.append(worker.__name__)
        return [getattr(self, worker.__name__.lower())(row) for row in rows]

    def describer(self, row: dict) -> dict:
        return row | {"text": shown(row["bucket"]).to_json()}

    def painter(self, row: dict) -> dict:
        level = 40 + 60 * (row["adapter"] == "boigsd") + 20 * BUCKETS.index(row["bucket"] or "low")
        picture = np.random.default_rng(row["seed"]).integers(0, level, (16, 16, 3)).astype(np.uint8)
        return row | {"png": to_png(picture), "unet_forwards": 40}

    def scorer(self, row: dict) -> dict:
        picture = from_png(row.pop("png")).astype(np.float64)
        features = np.concatenate([picture.mean((0, 1)), picture.std((0, 1)), picture[::8, ::8].ravel()[:6]]).astype(np.float32)
        if row["brief"] is None:
            return row | {"features": features}
        value = float(picture.mean())
        return row | {
            "features": features, "reward": value, "judge": value / 2, "likes": 10 + value, "agreement": value > 30, "mismatch": None,
            "unsafe": value > 200, "text_score": 0.5,
        }  # fmt: skip

    def trueeye(self, row: dict) -> dict:
        return row | {"likes": float(from_png(row.pop("png")).mean())}


@pytest.fixture(scope="module")
def law() -> Law:
    return Law.from_seed(3)


@pytest.fixture
def world(tmp_path, monkeypatch, law) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, law)


def section(**changes) -> Evaluate:
    few = {"briefs": 16, "reference_pictures": 20, "shown": 3, "methods": tuple(METHODS)}
    return load("evaluate", ROOT / "params.yaml").model_copy(update=few | changes)


def run(world: World, settings: Evaluate, scratch: Path) -> dict:
    scratch.mkdir(exist_ok=True)
    ground = steps.ground(settings)
    for step in (steps.describe, steps.paint, steps.score):
        step(settings, ground, scratch, world.fan_out)
    return steps.conclude(settings, ground, scratch, Silent())


def test_whole_stage(world, tmp_path):
    metrics = run(world, section(), tmp_path / "scratch")
    assert metrics.pop("made") == "11 methods on 16 held-out briefs, see reports/report.html"
    assert metrics["briefs"] == 16
    assert set(METHODS) <= set(metrics)
    ours, base = metrics["boigsd"], metrics["base"]
    assert ours["reward"]["mean"] > base["reward"]["mean"]
    assert ours["true_uplift"]["lo"] > 0 == base["true_uplift"]["mean"]
    assert ours["judge_win_rate"]["mean"] == 1
    assert base["judge_win_rate"] is None
    assert metrics["base"]["judge_win_rate_over"]["boigsd"]["mean"] == 0
    assert metrics["best_of_16"]["reward"]["mean"] >= metrics["best_of_4"]["reward"]["mean"] >= base["reward"]["mean"]
    assert (metrics["best_of_4"]["unet_forwards"], metrics["best_of_4"]["reward_calls"]) == (160, 4)
    assert metrics["real"]["unet_forwards"] == 0
    assert metrics["boigllm_prompt"]["by_bucket"]["high"]["reward"] == metrics["boigllm_prompt"]["reward"]
    assert base["mismatch_rate"] is None
    assert base["unsafe_rate"]["mean"] == 0
    assert set(metrics["steering"]) == {"described", "boigllm_prompt", "kpi_guided"}
    assert metrics["steering"]["boigllm_prompt"]["mean"] > 0.5
    low, medium, high = (metrics["described"]["by_bucket"][b]["mean"] for b in BUCKETS)
    assert low + medium + high == pytest.approx(0, abs=1e-5)
    rises = [rise["mean"] for rise in metrics["described"]["rises"].values()]
    assert rises == pytest.approx([medium - low, high - medium], abs=1e-5)
    assert any(rises)
    assert ours["rating"]["mean"] > base["rating"]["mean"]
    assert set(ours["by_split"]) == {"test_time", "test_account"}
    json.dumps(metrics, allow_nan=False)
    page = Path("reports/report.html").read_text()
    assert "DDPO as published" in page
    assert "simulated feed" in page
    card = Path("reports/model_card.md").read_text()
    assert "# BoigSD" in card
    assert "That of `kpi_guided` draws a wanted bucket only with" in card
    table = pq.read_table("reports/briefs.parquet")
    assert table.num_rows == 16 * (len(METHODS) + 2 * 2)
    assert from_png(Path("reports/pictures/methods.png").read_bytes()).shape[1] > 1000


def test_interrupted_run_ends_in_the_same_bytes(world, tmp_path):
    settings = section(methods=("base", "boigsd"))
    run(world, settings, tmp_path / "one")
    before = {p.name: p.read_bytes() for p in Path("reports").rglob("*") if p.is_file()}
    ground, two = steps.ground(settings), tmp_path / "two"
    two.mkdir()
    steps.describe(settings, ground, two, world.fan_out)
    steps.paint(settings, ground, two, world.fan_out)
    world.fanned.clear()
    run(world, settings, two)
    assert world.fanned == ["Scorer", "TrueEye"]
    assert {p.name: p.read_bytes() for p in Path("reports").rglob("*") if p.is_file()} == before


def test_real_feed_has_no_truth_and_still_a_report(world, tmp_path):
    Path("data/feed/truth/law.json").unlink()

    def scorer(row: dict) -> dict:
        return World.scorer(world, row) | ({} if row["brief"] is None else {"likes": None, "agreement": None})

    world.scorer = scorer
    metrics = run(world, section(methods=("base", "boigllm_prompt", "real")), tmp_path / "scratch")
    assert metrics["real"]["true_uplift"] is None
    assert metrics["real"]["prompt_agreement"] is None
    assert metrics["steering"] == {}
    assert "described" not in metrics
    assert "real feed" in Path("reports/report.html").read_text()


def test_levels_of_accounts_do_not_count_in_steering(world):
    held = steps.ground(section()).held
    level = np.array([10.0 ** (1 + sorted({h.brief.account for h in held}).index(h.brief.account) % 3) for h in held])
    table = Table(held, {}, (np.zeros((0, 1)), []), seed=0)
    found = table.described({"low": 0.5 * level, "medium": level, "high": 1.5 * level})
    for (name, expected), shown in zip({"low": -0.5, "medium": 0.0, "high": 0.5}.items(), found["by_bucket"].items(), strict=True):
        assert shown == (name, {"mean": expected, "lo": expected, "hi": expected, "n": len(held)})
    assert {name: rise["lo"] for name, rise in found["rises"].items()} == {"low_to_medium": 0.5, "medium_to_high": 0.5}


def test_briefs_are_held_out_usable_and_reference_pictures_are_others(world):
    posts = POSTS.read()
    usable = frozenset(p["picture_id"] for p in posts.to_pylist()) - {f"{4:016x}"}
    held = held_out.choose(posts, 20, seed=0, usable=usable)
    assert held == held_out.choose(posts, 20, seed=0, usable=usable)
    assert len(held) == 20
    assert {h.split for h in held} == {"test_time", "test_account"}
    assert all(h.brief.caption for h in held)
    assert "p004" not in {h.brief.post_id for h in held}
    others = held_out.reference(posts, held, 50, seed=0, usable=usable)
    assert len(others) == 50
    assert not {h.brief.post_id for h in others} & {h.brief.post_id for h in held}
    bare = posts.set_column(posts.schema.get_field_index("caption"), "caption", pa.array([""] * len(posts)))
    assert len(held_out.choose(bare, 20, seed=0, usable=usable)) == 20
    with pytest.raises(ValueError, match="no held-out post"):
        held_out.choose(posts, 20, seed=0, usable=frozenset())


def test_methods_share_pictures_and_seeds():
    asked = {"caption": ["a", "b"], "retrieved": ["c", "d"]} | {f"described/{b}": ["e", "f"] for b in BUCKETS}
    jobs = prompts.plan(chosen(tuple(METHODS)), asked, seed=1)
    assert len({j.key for j in jobs}) == len(jobs)
    assert [j.key for j in jobs] == sorted(j.key for j in jobs)
    by_adapter = {a: [j for j in jobs if j.adapter == a] for a in ("", "boigsd", "pft", "kpi_guided")}
    assert {a: len(js) for a, js in by_adapter.items()} == {"": 2 * (16 + 3 + 1), "boigsd": 8, "pft": 2, "kpi_guided": 6}
    assert len({j.seed for j in jobs if (j.brief, j.candidate) == (0, 0)}) == 1
    assert len({j.seed for j in jobs}) == 32


def test_panels_are_looked_at_in_hindsight(world):
    posts = {row["post_id"]: held_out.brief_of(row) for row in POSTS.read().to_pylist()}
    rows = [world.trueeye(row) for row in looks.panel_rows(steps.ADAPTERS, posts)]
    found = looks.with_likes(looks.read(steps.ADAPTERS), rows)
    assert [look["likes"] for look in found["boigsd"]] == [1.0, 2.0, 3.0]
    assert "likes" not in looks.with_likes(looks.read(steps.ADAPTERS), [])["boigsd"][0]


def test_best_of_n_keeps_the_first_of_equals():
    scores = {prompts.picture_key("", "caption", "", 0, k): {"reward": r, "unet_forwards": 40} for k, r in enumerate((1.0, 3.0, 3.0, 2.0))}
    kept = keep(METHODS["best_of_4"], "", 1, scores)
    assert kept.keys == (prompts.picture_key("", "caption", "", 0, 1),)
    assert keep(METHODS["real"], "", 1, scores).keys == (real_key(0),)


def test_retrieved_prompt_is_that_of_the_best_liked_neighbor():
    known = ["new cup in store", "our cup is here", "new shoe in store", "the lamp"]
    found = prompts.retrieved(["which cup is yours", "shoe"], known, [10, 90, 99, 100], ["a", "b", "c", "d"], neighbors=2)
    assert found == ["b", "c"]
    with pytest.raises(ValueError, match="posts of split train"):
        prompts.retrieved(["x"], [""], [50], ["a cup"], 3)


@pytest.mark.parametrize(
    ("kpi", "bucket", "expected"),
    [
        (None, "low", None),
        (("high", "low"), "", ("high", "low")),
        (("high", "low"), "low", ("low", "high")),
        (("medium", "low"), "high", ("high", "low")),
    ],
)
def test_steering_of_a_guided_adapter(kpi, bucket, expected):
    assert steer(kpi, bucket) == expected


def test_bad_methods_are_named():
    with pytest.raises(ValueError, match="base is missing"):
        chosen(("pft",))
    with pytest.raises(ValueError, match="unknown pfd"):
        chosen(("base", "pfd"))
