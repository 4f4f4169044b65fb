from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from boig.brief import Brief
from boig.reporting import Silent
from boig.reward import judge_training
from boig.reward.judge import Judge
from tests.boig.reward import small

RULE = small.section().judge


def _posts(n: int = 96) -> tuple[list[Brief], np.ndarray, np.ndarray]:
    """Red pictures are liked, blue ones are not."""
    rng = np.random.default_rng(0)
    red = rng.random(n)
    pictures = np.zeros((n, 24, 24, 3), np.uint8)
    pictures[..., 0], pictures[..., 2] = (255 * red)[:, None, None], (255 * (1 - red))[:, None, None]
    briefs = [Brief(str(i), f"a{i % 3}", "food", datetime(2024, 1, 1 + i % 28, tzinfo=UTC), "our cup") for i in range(n)]
    return briefs, pictures, 100 * red


def _train(folder: Path, epochs: int = 12) -> Judge:
    return judge_training.train(*_posts(), RULE.model_copy(update={"epochs": epochs}), folder=folder, seed=1, report=Silent())


def test_a_judge_learns_from_pixels_survives_saving_and_knows_no_account_by_name(tmp_path: Path):
    judge = _train(tmp_path / "a")
    briefs, pictures, kpi = _posts()
    scores = judge.score(briefs, pictures)
    assert np.corrcoef(scores, kpi)[0, 1] > 0.9
    judge.save(tmp_path / "judge")
    again = Judge.load(tmp_path / "judge")
    assert np.array_equal(again.score(briefs, pictures), scores)
    order = np.random.default_rng(0).permutation(len(briefs))
    assert again.score([briefs[i] for i in order], pictures[order]) == pytest.approx(scores[order], abs=1e-4)
    assert np.isfinite(again.score([replace(briefs[0], account="new", industry="new")], pictures[:1])).all()
    larger = pictures.repeat(2, 1).repeat(2, 2)
    assert np.corrcoef(again.score(briefs, larger), scores)[0, 1] > 0.99


def test_a_feed_without_captions_is_judged_by_its_pixels(tmp_path: Path):
    briefs, pictures, kpi = _posts()
    silent = [replace(brief, caption="") for brief in briefs]
    judge = judge_training.train(silent, pictures, kpi, RULE.model_copy(update={"epochs": 12}), folder=tmp_path, seed=1, report=Silent())
    judge.save(tmp_path / "judge")
    assert np.corrcoef(Judge.load(tmp_path / "judge").score(silent, pictures), kpi)[0, 1] > 0.9


def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = tmp_path / "whole"
    _train(whole / "work", epochs=4).save(whole)

    class Killed(Exception):
        pass

    class Killer(Silent):
        def curve(self, step: int, **values: float) -> None:
            if step == 2:
                raise Killed

    cut = tmp_path / "cut"
    with pytest.raises(Killed):
        judge_training.train(*_posts(), RULE.model_copy(update={"epochs": 4}), folder=cut / "work", seed=1, report=Killer())
    _train(cut / "work", epochs=4).save(cut)
    assert (cut / "judge.safetensors").read_bytes() == (whole / "judge.safetensors").read_bytes()


def test_bad_input_is_named(tmp_path: Path):
    briefs, pictures, _ = _posts(8)
    with pytest.raises(ValueError, match="1 KPI values"):
        judge_training.train(briefs, pictures, np.full(8, 5.0), RULE, folder=tmp_path, seed=0, report=Silent())
    judge = _train(tmp_path, epochs=1)
    with pytest.raises(ValueError, match="7 briefs for 8 pictures"):
        judge.score(briefs[:7], pictures)
    with pytest.raises(ValueError, match="uint8"):
        judge.score(briefs, pictures.astype(float))
    with pytest.raises(FileNotFoundError, match="train_reward"):
        Judge.load(tmp_path / "nowhere")
