"""Reward and judge: read the posts, train, score every split, measure, put the models in place."""

import io
import json
import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from boig.brief import Brief
from boig.contracts import NEGATIVES, PICTURES, POSTS, VERBALIZED
from boig.language.model import load as load_language
from boig.reporting import Reporter
from boig.reward import baselines, calibration, design, engagement, judge_training
from boig.reward.encoder import merged
from boig.reward.engagement import Engagement
from boig.reward.measure import Truth, comparable, errors_together, honesty, ordering
from boig.reward.pairs import periods
from boig.reward.rows import Posts
from boig.reward.scorer import Line, Reward
from boig.sections.train_reward import TrainReward
from boig.verbalizer.form import Verbalization

BOIGLLM, REWARD, JUDGE = Path("models/boigllm"), Path("models/reward"), Path("models/judge")
SCORED = ("val", "test_time", "test_account")
_BLANK_BRIEF = Brief("", "", "", datetime(2000, 1, 3, tzinfo=UTC), "")
_BLANK_PICTURE = Verbalization((), (0.0, 1.0, 0.0), (), "")
_PERIODS_FROM = datetime(2000, 1, 1, tzinfo=UTC).timestamp() / 86400


@dataclass(frozen=True)
class Tables:
    """Posts whose picture has a verbalization, by split; `negative` holds the mismatched ones."""

    splits: dict[str, Posts]
    picture_ids: dict[str, list[str]]

    def training(self) -> Posts:
        """Split train and the negatives."""
        a, b = self.splits["train"], self.splits["negative"]
        return Posts([*a.briefs, *b.briefs], [*a.verbalizations, *b.verbalizations], np.concatenate([a.kpi, b.kpi]))


def read(root: Path = Path(".")) -> Tables:
    """Join posts, negatives and verbalizations.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: no post has a verbalized picture.
    """
    shown = {
        r["picture_id"]: r["text"] for r in VERBALIZED.read(root).select(["picture_id", "text", "error"]).to_pylist() if not r["error"]
    }
    posts = POSTS.read(root).to_pylist()
    by_id = {p["post_id"]: p for p in posts}
    rows = [(p["split"], p, p["picture_id"], p["kpi"]) for p in posts]
    rows += [("negative", by_id[n["post_id"]], n["picture_id"], n["kpi"]) for n in NEGATIVES.read(root).to_pylist()]
    rows = [r for r in rows if r[2] in shown]
    if not rows:
        raise ValueError(
            f"none of {len(posts)} posts has a verbalized picture; look at `error` in {VERBALIZED.path} and run verbalize again"
        )
    splits, pictures = {}, {}
    for split in ("train", "negative", "judge", *SCORED):
        mine = [r for r in rows if r[0] == split]
        pictures[split] = [r[2] for r in mine]
        texts = [Verbalization.from_json(shown[name]) for name in pictures[split]]
        splits[split] = Posts([_brief(r[1]) for r in mine], texts, np.array([r[3] for r in mine], dtype=np.float64))
    return Tables(splits, pictures)


def fit_reward(section: TrainReward, folder: Path, report: Reporter, boigllm: Path = BOIGLLM, root: Path = Path(".")) -> None:
    """Train the engagement reward, fit both rewards' calibration on `val`, score every split.

    Args:
        section: parameters.
        folder: of progress and results; the reward goes to `folder/reward`.
        report: gets the curves.
        boigllm: the language model.
        root: the workspace.

    Raises:
        FileNotFoundError, ValueError: see `read` and `boig.reward.engagement.train`.
    """
    if _done(folder, "reward"):
        return
    tables = read(root)
    trained, model = _train(section, tables.training(), tables.splits["val"], boigllm, folder / "fit_reward", report, "reward")
    scores, nats = {}, {}
    for split in SCORED:
        posts = tables.splits[split]
        scores[split] = trained.predict(posts.briefs, posts.verbalizations)
        with trained.without_adapter():
            nats[split] = design.scores(model, trained.tokenizer, posts.briefs, posts.verbalizations)
    if _rank() == 0:
        line = _line(nats["val"], tables.splits["val"].kpi)
        first, second = _pairs(section, tables.splits["val"])
        fitted = calibration.fit(*scores["val"], tables.splits["val"].kpi, first, second)
        _fresh(folder / "reward")
        Reward(model, trained, line, fitted, section.weights.model_dump()).save(folder / "reward", str(boigllm), section.dtype)
        _keep(folder, "design_reward", {s: (n, np.full(len(n), line.sigma), line.intercept + line.slope * n) for s, n in nats.items()})
        _keep(folder, "reward", {s: (mean, sigma, mean) for s, (mean, sigma) in scores.items()})


def fit_judge(section: TrainReward, folder: Path, report: Reporter, root: Path = Path(".")) -> None:
    """Train the judge on split judge and score every split; the judge goes to `folder/judge`."""
    if _done(folder, "judge"):
        return
    tables = read(root)
    pixels = _pictures(tables, root)
    posts = tables.splits["judge"]
    judge = judge_training.train(
        posts.briefs, pixels["judge"], posts.kpi, section.judge, folder=folder / "fit_judge", seed=section.seed, report=report
    )
    _fresh(folder / "judge")
    judge.save(folder / "judge")
    _keep(folder, "judge", {s: (judge.score(tables.splits[s].briefs, pixels[s]),) for s in SCORED})


def fit_controls(section: TrainReward, folder: Path, report: Reporter, boigllm: Path = BOIGLLM, root: Path = Path(".")) -> None:
    """Baselines, the reward with one side blanked, and the reward trained on shuffled KPI: one member each, BoigLLM frozen."""
    tables = read(root)
    train = tables.splits["train"]
    for name, predict in (
        ("account_mean", baselines.account_mean(train)),
        ("context_gbm", baselines.context_gbm(train, section.seed)),
        ("caption_only", baselines.caption_only(train)),
    ):
        _keep(folder, name, {s: (predict(tables.splits[s].briefs),) for s in SCORED})
    light = section.model_copy(
        update={"head": section.head.model_copy(update={"members": 1}), "fit": section.fit.model_copy(update={"lora_rank": 0})}
    )
    posts, val, rng = tables.training(), tables.splits["val"], np.random.default_rng(section.seed)
    # Of the control val is shuffled too: chosen by the true val, of many weights that learnt nothing the luckiest would be kept.
    lots = (_permuted(posts, rng), _permuted(val, rng))
    for name, rows, chooser, blank in (
        ("picture_only", posts, val, _only_picture),
        ("context_only", posts, val, _only_context),
        ("shuffled", *lots, _as_is),
    ):
        if not _done(folder, name):
            trained, _ = _train(light, blank(rows), blank(chooser), boigllm, folder / f"fit_{name}", report, name)
            seen = {s: blank(tables.splits[s]) for s in SCORED}
            _keep(folder, name, {s: (trained.predict(p.briefs, p.verbalizations)[0],) for s, p in seen.items()})


def measure(section: TrainReward, folder: Path, root: Path = Path(".")) -> dict:
    """`<split>.<model>.<metric>` of every model whose predictions are in `folder`, and `<split>.ceiling` where the feed tells it."""
    tables = read(root)
    ceiling = _ceiling(root / section.feed)
    metrics: dict = {}
    for split in SCORED:
        posts = tables.splits[split]
        if not len(posts):
            continue
        truth = Truth(posts.kpi, [b.account for b in posts.briefs], *_pairs(section, posts))
        metrics[split] = {name: ordering(columns[0], truth, section.seed) for name, columns in _kept(folder, split).items()}
        judge, reward = (_kept(folder, split)[name][0] for name in ("judge", "reward"))
        metrics[split]["judge"]["error_correlation"] = errors_together(judge, reward, truth, section.seed)
        for name in ("reward", "design_reward"):
            _, sigma, points = _kept(folder, split)[name]
            metrics[split][name] |= honesty(points, sigma, truth, _calibration(section, folder, tables.splits["val"], name), section.seed)
        metrics[split] |= {"ceiling": ceiling[split]} if split in ceiling else {}
    return metrics


def publish(folder: Path, root: Path = Path(".")) -> None:
    """Copy both models to their places."""
    for source, place in ((folder / "reward", root / REWARD), (folder / "judge", root / JUDGE)):
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft)
        os.replace(draft, place)


def _train(
    section: TrainReward, posts: Posts, val: Posts, boigllm: Path, folder: Path, report: Reporter, name: str
) -> tuple[Engagement, torch.nn.Module]:
    """An engagement reward, and the language model under it."""
    model, tokenizer = load_language(boigllm, dtype=section.dtype, device="cuda" if torch.cuda.is_available() else "cpu")
    model = merged(model)
    rewarded = engagement.train(
        posts, val, model.base_model, tokenizer,
        features=section.features, head=section.head, fit=section.fit, folder=folder, seed=section.seed, report=report, name=name,
    )  # fmt: skip
    return rewarded, model


def _line(nats: np.ndarray, kpi: np.ndarray) -> Line:
    """Least squares on `val`; never falling, since more likely under a high KPI must not mean a lower one."""
    spread = float(nats.var())
    slope = max(float(np.cov(nats, kpi, bias=True)[0, 1]) / spread, 0.0) if spread > 0 else 0.0
    intercept = float(kpi.mean() - slope * nats.mean())
    return Line(intercept, slope, float(np.sqrt(np.mean((kpi - intercept - slope * nats) ** 2))))


def _calibration(section: TrainReward, folder: Path, val: Posts, name: str) -> calibration.Calibration:
    _, sigma, points = _kept(folder, "val")[name]
    return calibration.fit(points, sigma, val.kpi, *_pairs(section, val))


def _pairs(section: TrainReward, posts: Posts) -> tuple[np.ndarray, np.ndarray]:
    """Comparable posts of a split; periods are counted from a fixed day, so that each split has the same ones."""
    days = np.array([b.created_at.timestamp() / 86400 for b in posts.briefs])
    period = periods(np.append(days, _PERIODS_FROM), section.fit.pair_period_days)[:-1]
    return comparable([b.account for b in posts.briefs], period, posts.kpi)


def _pictures(tables: Tables, root: Path) -> dict[str, np.ndarray]:
    """Pixels of judge and scored splits, uint8 (N, H, W, 3); one size for all, that of the first picture."""
    wanted = {name for s in ("judge", *SCORED) for name in tables.picture_ids[s]}
    table = PICTURES.read(root)
    png = {k: v for k, v in zip(table["picture_id"].to_pylist(), table["png"].to_pylist(), strict=True) if k in wanted}
    size: tuple[int, int] | None = None
    decoded = {}
    for name in sorted(png):
        picture = Image.open(io.BytesIO(png[name])).convert("RGB")
        size = size or picture.size
        decoded[name] = np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BOX))
    height, width = (size[1], size[0]) if size else (1, 1)
    empty = np.zeros((0, height, width, 3), dtype=np.uint8)
    return {s: np.stack([decoded[n] for n in tables.picture_ids[s]]) if tables.picture_ids[s] else empty for s in ("judge", *SCORED)}


def _only_picture(posts: Posts) -> Posts:
    return replace(posts, briefs=[_BLANK_BRIEF] * len(posts))


def _only_context(posts: Posts) -> Posts:
    return replace(posts, verbalizations=[_BLANK_PICTURE] * len(posts))


def _permuted(posts: Posts, rng: np.random.Generator) -> Posts:
    return replace(posts, kpi=rng.permutation(posts.kpi))


def _as_is(posts: Posts) -> Posts:
    return posts


def _brief(row: dict) -> Brief:
    return Brief(row["post_id"], row["account"], row["industry"], row["created_at"], row["caption"])


def _ceiling(feed: Path) -> dict[str, float]:
    """Correlation of a perfect predictor with the KPI, per split, where the feed is simulated and says so."""
    path = feed / "ceiling.json"
    return json.loads(path.read_text())["ceiling"] if path.is_file() else {}


def _keep(folder: Path, model: str, columns: dict[str, tuple[np.ndarray, ...]]) -> None:
    """Put a model's predictions aside, all at once."""
    place = folder / "predictions" / f"{model}.npz"
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(".draft")
    with draft.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{split: np.stack(values) for split, values in columns.items()})
    os.replace(draft, place)


def _kept(folder: Path, split: str) -> dict[str, np.ndarray]:
    """Columns (1 or 3, N) of each model: score, and for rewards sigma and KPI points."""
    return {path.stem: np.load(path)[split] for path in sorted((folder / "predictions").glob("*.npz"))}


def _done(folder: Path, model: str) -> bool:
    return (folder / "predictions" / f"{model}.npz").is_file()


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
