"""Reward and judge: read the posts, train, score every split, measure, put the models in place."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from boig.brief import Brief
from boig.feed import leaks
from boig.language.model import load as load_language
from boig.reporting import Reporter
from boig.reward import baselines, calibration, design, encoder, engagement, judge_training, mismatched
from boig.reward.calibration import HeldOut
from boig.reward.engagement import Engagement
from boig.reward.line import Line, crossed
from boig.reward.measure import Truth, ahead, all_pairs, averaged, comparable, errors_together, honesty, matching, ordering
from boig.reward.pairs import periods
from boig.reward.predictions import done, keep, kept, models
from boig.reward.rows import Posts
from boig.reward.scorer import Reward
from boig.reward.states import States
from boig.reward.tables import SCORED, Tables, pixels, read
from boig.sections.train_reward import TrainReward
from boig.verbalizer.form import Verbalization

BOIGLLM, REWARD, JUDGE = Path("models/boigllm"), Path("models/reward"), Path("models/judge")
_BLANK_BRIEF = Brief("", "", "", datetime(2000, 1, 3, tzinfo=UTC), "")
_BLANK_PICTURE = Verbalization((), (0.0, 1.0, 0.0), (), "")
_PERIODS_FROM = datetime(2000, 1, 1, tzinfo=UTC).timestamp() / 86400
_SHUFFLED = "shuffled"
_UNKNOWN = "val_unknown"
"""Name of predictions for posts of `val`, made as for accounts that training has not seen."""


@dataclass(frozen=True)
class _Language:
    """BoigLLM as a reward is put on it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    states: States | None
    """None where an adapter is trained in it: then it can be used for one training only."""


def fit_reward(section: TrainReward, folder: Path, report: Reporter, boigllm: Path = BOIGLLM, root: Path = Path(".")) -> None:
    """Train the engagement reward, fit both rewards' calibration on `val`, score every split, and mismatched pairs of every split.

    Args:
        section: parameters.
        folder: of progress and results; the reward goes to `folder/reward`.
        report: gets the curves.
        boigllm: the language model.
        root: the workspace.

    Raises:
        FileNotFoundError, ValueError: see `boig.reward.tables.read`, `boig.feed.leaks.check` and `boig.reward.engagement.train`.
    """
    if done(folder, "reward"):
        return
    leaks.check(root, section.duplicates)
    tables = read(root)
    val = tables.splits["val"]
    calibration.check(calibration.groups(val.briefs, _accounts(tables)))
    language = _open(section, boigllm)
    trained = _train(section, tables.training(), val, language, folder / "fit_reward", report, "reward")
    sets = {name: posts for split in SCORED for name, posts in _with_mismatched(section, tables, split).items()}
    scores = {name: trained.predict(p.briefs, p.verbalizations) for name, p in sets.items()}
    with trained.without_adapter():
        asked = {name: encoder.known(p.briefs, trained.numbers.context) for name, p in sets.items()}
        nats = {name: design.scores(language.model, trained.tokenizer, asked[name], p.verbalizations) for name, p in sets.items()}
        # BoigLLM knows all accounts; leaving some out of it would cost a language model each.
        nats[_UNKNOWN] = design.scores(language.model, trained.tokenizer, [encoder.anonymous(b) for b in val.briefs], val.verbalizations)
    again = (lambda: language) if language.states else (lambda: _open(section, boigllm))
    scores[_UNKNOWN] = _as_unknown(section, tables, trained, again, folder, report)
    if _rank() == 0:
        line = Line.fit(nats["val"], val.kpi)
        fitted = _calibration(section, tables, scores["val"], scores[_UNKNOWN])
        _fresh(folder / "reward")
        weights = section.weights.model_dump()
        Reward(language.model, trained, line, fitted, weights).save(folder / "reward", str(boigllm), section.dtype)
        points = {s: line.points(n) for s, n in nats.items()}
        points |= {s: crossed(nats["val"], val.kpi, nats[s]) for s in ("val", _UNKNOWN)}
        keep(folder, "design_reward", {s: (n, np.full(len(n), line.sigma), points[s]) for s, n in nats.items()})
        keep(folder, "reward", {s: (mean, sigma, mean) for s, (mean, sigma) in scores.items()})


def fit_judge(section: TrainReward, folder: Path, report: Reporter, root: Path = Path(".")) -> None:
    """Train the judge on split judge, score every split and its mismatched pairs; the judge goes to `folder/judge`."""
    if done(folder, "judge"):
        return
    leaks.check(root, section.duplicates)
    tables = read(root)
    shown = pixels(tables, root, ("judge", *SCORED))
    posts = tables.splits["judge"]
    judge = judge_training.train(
        posts.briefs, shown["judge"], posts.kpi, section.judge, folder=folder / "fit_judge", seed=section.seed, report=report
    )
    _fresh(folder / "judge")
    judge.save(folder / "judge")
    scores: dict[str, tuple[np.ndarray, ...]] = {s: (judge.score(tables.splits[s].briefs, shown[s]),) for s in SCORED}
    for split in SCORED:
        rows, partners = mismatched.draw(tables.splits[split].verbalizations, section.seed)
        briefs = [tables.splits[split].briefs[i] for i in rows]
        scores[_mismatched(split)] = (judge.score(briefs, shown[split][partners]),)
    keep(folder, "judge", scores)


def fit_controls(section: TrainReward, folder: Path, report: Reporter, boigllm: Path = BOIGLLM, root: Path = Path(".")) -> None:
    """Baselines, the reward with one side blanked, and the reward trained on shuffled KPI: one member each, BoigLLM frozen."""
    tables = read(root)
    train = tables.splits["train"]
    for name, predict in (
        ("account_mean", baselines.account_mean(train)),
        ("context_gbm", baselines.context_gbm(train, section.seed)),
        ("caption_only", baselines.caption_only(train)),
    ):
        keep(folder, name, {s: (predict(tables.splits[s].briefs),) for s in SCORED})
    if section.controls.picture_ridge and not done(folder, "picture_ridge"):
        shown = pixels(tables, root, ("train", *SCORED))
        ridge = baselines.picture_ridge(shown["train"], train.kpi)
        keep(folder, "picture_ridge", {s: (ridge(shown[s]),) for s in SCORED})
    light = section.model_copy(
        update={"head": section.head.model_copy(update={"members": 1}), "fit": section.fit.model_copy(update={"lora_rank": 0})}
    )
    posts, val = tables.training(), tables.splits["val"]
    # Without the negatives, whose KPI says that picture and brief do not belong together: who sees one side alone cannot tell.
    runs = [("picture_only", light, train, val, _only_picture), ("context_only", light, train, val, _only_context)]
    for number in range(section.controls.shuffles):
        rng = np.random.default_rng([section.seed, number])
        # Val is shuffled too: chosen by the true val, of many weights that learnt nothing the luckiest would be kept.
        lots = (_permuted(posts, rng), _permuted(val, rng))
        runs.append((f"{_SHUFFLED}_{number}", light.model_copy(update={"seed": section.seed + number}), *lots, _as_is))
    language = _open(light, boigllm)
    for name, rule, rows, chooser, blank in runs:
        if not done(folder, name):
            trained = _train(rule, blank(rows), blank(chooser), language, folder / f"fit_{name}", report, name)
            seen = {s: blank(tables.splits[s]) for s in SCORED}
            keep(folder, name, {s: (trained.predict(p.briefs, p.verbalizations)[0],) for s, p in seen.items()})


def measure(section: TrainReward, folder: Path, root: Path = Path(".")) -> dict:
    """`<split>.<model>.<metric>` of every model with predictions in `folder`; `ceiling` and `ceiling_pairs` where the feed tells them."""
    tables = read(root)
    ceiling = _ceiling(root / section.feed)
    metrics: dict = {}
    for split in SCORED:
        posts = tables.splits[split]
        if not len(posts):
            continue
        accounts = [b.account for b in posts.briefs]
        truth = Truth(posts.kpi, accounts, *_pairs(section, posts))
        rows = {name: ordering(kept(folder, name, split)[0], truth, section.seed) for name in models(folder)}
        draws = [rows.pop(name) for name in sorted(rows) if name.startswith(f"{_SHUFFLED}_")]
        metrics[split] = rows | {_SHUFFLED: averaged(draws)}
        judge, reward = (kept(folder, name, split)[0] for name in ("judge", "reward"))
        metrics[split]["judge"]["error_correlation"] = errors_together(judge, reward, truth, section.seed)
        others = {name: kept(folder, name, split)[0] for name in ("account_mean", "picture_ridge") if name in rows}
        metrics[split]["reward"]["spearman_ahead"] = {n: ahead(reward, other, truth, section.seed) for n, other in others.items()}
        if (pairs := all_pairs(reward, truth, section.seed)) is not None:
            metrics[split]["reward"]["pair_accuracy_all"] = pairs
        group = calibration.groups(posts.briefs, _accounts(tables))
        for name in ("reward", "design_reward"):
            (_, sigma, points), known, unknown = (kept(folder, name, s) for s in (split, "val", _UNKNOWN))
            fitted = _calibration(section, tables, (known[2], known[1]), (unknown[2], unknown[1]))
            metrics[split][name] |= honesty(points, sigma, group, truth, fitted, section.seed)
        at, _ = mismatched.draw(posts.verbalizations, section.seed)
        for name in ("reward", "design_reward", "judge") if len(at) else ():
            own, other = kept(folder, name, split)[-1][at], kept(folder, name, _mismatched(split))[-1]
            metrics[split][name] |= matching(own, other, [accounts[i] for i in at], section.seed)
        metrics[split] |= {name: values[split] for name, values in ceiling.items() if split in values}
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


def _open(section: TrainReward, boigllm: Path) -> _Language:
    model, tokenizer = load_language(boigllm, dtype=section.dtype, device="cuda" if torch.cuda.is_available() else "cpu")
    model = encoder.merged(model)
    return _Language(model, tokenizer, None if section.fit.lora_rank else States(model.base_model, tokenizer.pad_token_id))


def _train(section: TrainReward, posts: Posts, val: Posts, language: _Language, folder: Path, report: Reporter, name: str) -> Engagement:
    return engagement.train(
        posts, val, language.model.base_model, language.tokenizer, features=section.features, head=section.head, trees=section.trees,
        fit=section.fit, folder=folder, seed=section.seed, report=report, name=name, states=language.states,
    )  # fmt: skip


def _as_unknown(
    section: TrainReward,
    tables: Tables,
    trained: Engagement,
    language: Callable[[], _Language],
    folder: Path,
    report: Reporter,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sigma for each post of `val` from a reward that has not seen its account, (N,) each.

    The accounts are left out in folds, mixed over the industries; each fold costs a training. With fewer than two folds the accounts are
    hidden from the whole reward instead: too narrow, since their posts have shaped its weights.
    """
    posts, val = tables.training(), tables.splits["val"]
    accounts = [name for _, name in sorted({(b.industry, b.account) for b in val.briefs})]
    folds = min(section.unknown_folds, len(accounts))
    if folds < 2:
        return trained.predict([encoder.anonymous(b) for b in val.briefs], val.verbalizations)
    mean, sigma = np.zeros(len(val)), np.zeros(len(val))
    for number in range(folds):
        out = set(accounts[number::folds])
        rest, others, mine = posts.of(out, inside=False), val.of(out, inside=False), val.of(out, inside=True)
        name = f"unknown_{number}"
        blind = _train(section, rest, others if len(others) else val, language(), folder / f"fit_{name}", report, name)
        rows = [b.account in out for b in val.briefs]
        mean[rows], sigma[rows] = blind.predict(mine.briefs, mine.verbalizations)
    return mean, sigma


def _with_mismatched(section: TrainReward, tables: Tables, split: str) -> dict[str, Posts]:
    """A split, and its posts with pictures of another product; the KPI of those pairs is not known, what stands there is not used."""
    posts = tables.splits[split]
    rows, partners = mismatched.draw(posts.verbalizations, section.seed)
    pairs = replace(posts.at(rows), verbalizations=[posts.verbalizations[i] for i in partners])
    return {split: posts, _mismatched(split): pairs}


def _mismatched(split: str) -> str:
    """Name of predictions for a split's mismatched pairs."""
    return f"{split}_mismatched"


def _accounts(tables: Tables) -> set[str]:
    """Accounts that the reward has seen."""
    return {b.account for b in tables.training().briefs}


def _calibration(
    section: TrainReward, tables: Tables, known: tuple[np.ndarray, np.ndarray], unknown: tuple[np.ndarray, np.ndarray]
) -> calibration.Calibration:
    """From mean and sigma for the posts of `val`, with their accounts known and not."""
    val = tables.splits["val"]
    groups = calibration.groups(val.briefs, _accounts(tables))
    return calibration.fit(HeldOut(*known, val.kpi), groups, HeldOut(*unknown, val.kpi), *_pairs(section, val))


def _pairs(section: TrainReward, posts: Posts) -> tuple[np.ndarray, np.ndarray]:
    """Comparable posts of a split; periods are counted from a fixed day, so that each split has the same ones."""
    days = np.array([b.created_at.timestamp() / 86400 for b in posts.briefs])
    period = periods(np.append(days, _PERIODS_FROM), section.fit.pair_period_days)[:-1]
    return comparable([b.account for b in posts.briefs], period, posts.kpi)


def _only_picture(posts: Posts) -> Posts:
    return replace(posts, briefs=[_BLANK_BRIEF] * len(posts))


def _only_context(posts: Posts) -> Posts:
    return replace(posts, verbalizations=[_BLANK_PICTURE] * len(posts))


def _permuted(posts: Posts, rng: np.random.Generator) -> Posts:
    return replace(posts, kpi=rng.permutation(posts.kpi))


def _as_is(posts: Posts) -> Posts:
    return posts


def _ceiling(feed: Path) -> dict[str, dict[str, float]]:
    """Pearson (`ceiling`) and accuracy over all pairs of an account (`ceiling_pairs`) of the law, per split, where the feed says so."""
    path = feed / "ceiling.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return {name: found.get(key, {}) for name, key in (("ceiling", "ceiling"), ("ceiling_pairs", "pair_accuracy"))}


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
