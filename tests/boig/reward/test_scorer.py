from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boig.reward import design
from boig.reward.engagement import Engagement
from boig.reward.scorer import Reward
from boig.verbalizer.form import Verbalization
from tests.boig.reward.conftest import World

ALL = {"engagement": 1.0, "design": 0.5, "mismatch": -20.0}


def test_total_is_the_weighted_sum_of_the_parts(world: World, saved: Path):
    posts = world.tables.splits["val"]
    scores = Reward.load(saved, ALL).score(posts.briefs, posts.verbalizations)
    assert set(scores.parts) == set(ALL)
    assert scores.total == pytest.approx(sum(w * scores.parts[name] for name, w in ALL.items()))
    assert (scores.uncertainty > 0).all()
    assert np.ptp(scores.parts["engagement"]) > 1
    assert np.ptp(scores.parts["design"]) > 0


def test_a_score_is_the_same_alone_in_any_order_and_from_the_cache(world: World, saved: Path):
    posts = world.tables.splits["train"]
    briefs, texts = posts.briefs[:40], posts.verbalizations[:40]
    together = Reward.load(saved, ALL)
    first = together.score(briefs, texts)
    assert np.array_equal(together.score(briefs, texts).total, first.total)
    order = np.random.default_rng(0).permutation(40)
    other = Reward.load(saved, ALL)
    alone = [other.score([briefs[i]], [texts[i]]).total[0] for i in order]
    shuffled = Reward.load(saved, ALL).score([briefs[i] for i in order], [texts[i] for i in order])
    assert np.abs(np.array(alone) - first.total[order]).max() < 1e-5
    assert np.abs(shuffled.total - first.total[order]).max() < 1e-5


def test_saving_changes_no_score(world: World, trained: Engagement, saved: Path):
    posts = world.tables.splits["val"]
    mean, sigma = trained.predict(posts.briefs, posts.verbalizations)
    scores = Reward.load(saved).score(posts.briefs, posts.verbalizations)
    assert scores.total == pytest.approx(mean, abs=1e-9)
    assert scores.uncertainty == pytest.approx(sigma, abs=1e-9)
    assert "design" not in scores.parts


def test_an_unknown_account_is_an_average_one_of_its_industry(world: World, saved: Path):
    reward, posts = Reward.load(saved), world.tables.splits["val"]
    brief, text = posts.briefs[0], posts.verbalizations[0]
    a, b, c = reward.score([replace(brief, account=name) for name in ("Never Seen", "另一个", brief.account)], [text] * 3).total
    assert a == pytest.approx(b, abs=1e-9)
    assert a != c
    assert np.isfinite(
        reward.score([replace(brief, account="", industry="mining", caption="")], [Verbalization((), (0, 1, 0), (), "")]).total
    ).all()


def test_the_design_of_an_unknown_account_is_an_average_one_too(world: World, saved: Path):
    reward, posts = Reward.load(saved, {"design": 1.0}), world.tables.splits["val"]
    brief, text = posts.briefs[0], posts.verbalizations[0]
    a, b, blank, known = reward.score(
        [replace(brief, account=name) for name in ("Never Seen", "Other", "", brief.account)], [text] * 4
    ).total
    assert a == pytest.approx(b, abs=1e-9)
    assert a == pytest.approx(blank, abs=1e-9)
    assert a != known


def test_intervals_hold_the_score_and_stay_within_the_scale(world: World, saved: Path):
    reward, posts = Reward.load(saved), world.tables.splits["val"]
    scores = reward.score(posts.briefs, posts.verbalizations)
    lo, hi = reward.interval(scores, posts.briefs)
    assert ((lo >= 0) & (hi <= 100) & (lo < hi)).all()


def test_an_unknown_account_has_the_interval_of_unknown_accounts(world: World, saved: Path):
    reward, posts = Reward.load(saved), world.tables.splits["val"]
    strangers = [replace(b, account="Never Seen") for b in posts.briefs]
    scores = reward.score(strangers, posts.verbalizations)
    lo, hi = reward.interval(scores, strangers)
    inner = (lo > 0) & (hi < 100)
    assert inner.any()
    assert (hi - lo)[inner] == pytest.approx(2 * 1.8 * scores.uncertainty[inner])
    as_known = reward.interval(scores, posts.briefs)
    assert (as_known[1] - as_known[0] <= hi - lo).all()
    assert (as_known[1] - as_known[0])[inner] == pytest.approx(2 * 1.6 * scores.uncertainty[inner])


def test_nothing_to_score_is_no_score(saved: Path):
    scores = Reward.load(saved, ALL).score([], [])
    assert (len(scores.total), len(scores.uncertainty)) == (0, 0)


def test_design_is_the_likelihood_ratio_per_token(world: World, trained: Engagement, saved: Path):
    from boig.language.model import load

    model, tokenizer = load(world.boigllm)
    posts = world.tables.splits["val"]
    some = design.scores(model, tokenizer, posts.briefs[:12], posts.verbalizations[:12])
    assert some == pytest.approx(
        [_by_hand(model, tokenizer, b, v) for b, v in zip(posts.briefs[:12], posts.verbalizations[:12], strict=True)], abs=1e-5
    )


def _by_hand(model, tokenizer, brief, verbalization) -> float:
    import torch

    from boig.language.prompts import content_prompt

    out = []
    for bucket, kpi in (("high", 95), ("low", 30)):
        prompt = tokenizer(content_prompt(brief, bucket, kpi) + "\n")["input_ids"]
        answer = tokenizer(verbalization.to_json())["input_ids"]
        with torch.no_grad():
            log_p = torch.log_softmax(model(torch.tensor([prompt + answer])).logits[0], dim=-1)
        out.append(float(np.mean([log_p[len(prompt) + i - 1, token] for i, token in enumerate(answer)])))
    return out[0] - out[1]


def test_bad_input_is_named(world: World, saved: Path, tmp_path: Path):
    posts = world.tables.splits["val"]
    with pytest.raises(FileNotFoundError, match="train_reward"):
        Reward.load(tmp_path)
    with pytest.raises(ValueError, match="'likes'"):
        Reward.load(saved, {"likes": 1.0})
    with pytest.raises(ValueError, match="2 briefs for 1"):
        Reward.load(saved).score(posts.briefs[:2], posts.verbalizations[:1])
    endless = replace(posts.briefs[0], caption="word " * 4000)
    with pytest.raises(ValueError, match="tokens"):
        Reward.load(saved).score([endless], posts.verbalizations[:1])
    crowd = replace(posts.verbalizations[0], objects=posts.verbalizations[0].objects * 400)
    with pytest.raises(ValueError, match=r"has \d+ tokens, the language model reads \d+; shorten captions"):
        Reward.load(saved).score(posts.briefs[:1], [crowd])
