"""What two generations are compared on, and which marks are tried on them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.brief import Brief
from boig.retraining.line import PATCH, Guarded, Line
from boig.reward.rows import Posts
from boig.reward.tables import Tables
from boig.verbalizer.form import Verbalization
from tasks import retrain

BLANK = Verbalization((), (0.0, 1.0, 0.0), (), "")


def posts(*captions: str, first: int = 0) -> Posts:
    briefs = [Brief(str(first + i), "a", "food", datetime(2022, 1, 1, tzinfo=UTC), text) for i, text in enumerate(captions)]
    return Posts(briefs, [BLANK] * len(briefs), np.arange(first, first + len(briefs), dtype=float))


@dataclass
class WordReward:
    """Likes one word by so many points."""

    word: str
    points: float

    def score(self, briefs: list[Brief], verbalizations: list[Verbalization]) -> SimpleNamespace:
        values = np.array([50.0 + self.points * (self.word in b.caption.split()) for b in briefs])
        return SimpleNamespace(parts={"engagement": values})


@dataclass
class CornerJudge:
    """Likes light in the lower right corner by so many points."""

    points: float

    def score(self, briefs: list[Brief], pictures: np.ndarray) -> np.ndarray:
        return 50.0 + self.points * pictures[:, -1, -1, 0] / 255


def generation(word: float = 0.0, corner: float = 0.0) -> retrain.Generation:
    return retrain.Generation(WordReward("#zq7", word), CornerJudge(corner))  # type: ignore[arg-type]


def test_what_the_champion_has_learned_from_is_no_test_of_it() -> None:
    tables = Tables({"test_time": posts("a", "b"), "test_account": posts("c", "d", first=2)}, {})
    held, splits, rows = retrain.held_out(tables, {"1", "2"})
    assert [b.post_id for b in held.briefs] == ["0", "3"]
    assert splits == ["test_time", "test_account"]
    assert rows.tolist() == [0, 3]
    assert held.kpi.tolist() == [0.0, 3.0]
    with pytest.raises(ValueError, match="all 4 posts of test_time and test_account were training posts of the champion"):
        retrain.held_out(tables, {"0", "1", "2", "3"})


def test_a_planted_word_has_risen_most() -> None:
    before = ["a cup for summer #new"] * 100
    now = [*before, *["a shoe for winter #new"] * 40, *["a shoe #zq7"] * 20]
    found = retrain.risen(before, now, 10)
    assert set(found) == {"shoe", "winter", "#zq7"}
    assert retrain.risen(before, now, 1) == [found[0]]
    assert retrain.risen(before, before, 10) == []


def test_a_word_is_found_in_a_table_that_has_shrunk() -> None:
    before = ["a cup #zq7"] * 40 + ["a cup"] * 2960
    assert retrain.risen(before, ["a cup #zq7"] * 40 + ["a cup"] * 160, 10) == ["#zq7"]
    assert retrain.risen(before, ["a cup #zq7"] * 3 + ["a cup"] * 197, 10) == []


def test_marks_are_tried_as_they_are_written() -> None:
    found = retrain.risen(["a cup"] * 50, ["a cup 🔥🔥", "A Cup, #ZQ7! “(now)”"] * 10, 20)
    assert set(found) == {"🔥", "A", "Cup", "#ZQ7", "now"}


@given(st.lists(st.sampled_from(["a", "b c", "c #d", "#D e"]), min_size=1, max_size=60), st.integers(0, 4))
def test_risen_words_are_of_the_new_captions_and_not_too_many(now: list[str], most: int) -> None:
    found = retrain.risen(["a", "b"], now, most)
    assert len(found) <= most
    assert len(set(found)) == len(found)
    assert all(any(word in text.split() for text in now) for word in found)


def test_a_mark_is_measured_on_both_generations_and_both_models() -> None:
    pictures = np.zeros((3, 16, 16, 3), np.uint8)
    marks = retrain.moved(
        generation(word=1.0), generation(word=30.0, corner=-20.0), posts("x", "y", "z"), pictures, ["#zq7", "cup"], Line()
    )
    found = {(m.mark, m.model): (m.champion, m.challenger) for m in marks}
    assert found == {
        ("#zq7", "reward"): (1.0, 30.0),
        ("#zq7", "judge"): (0.0, 0.0),
        ("cup", "reward"): (0.0, 0.0),
        ("cup", "judge"): (0.0, 0.0),
        (PATCH, "reward"): (0.0, 0.0),
        (PATCH, "judge"): (0.0, -20.0),
    }
    assert max(marks, key=lambda m: m.excess).excess == 29.0


def test_a_remembered_mark_is_tried_again_and_counts_from_the_champion_it_was_first_tried_on() -> None:
    pictures = np.zeros((3, 16, 16, 3), np.uint8)
    line = Line(marks={PATCH: {"judge": 1.0}, "#zq7": {"reward": 0.0, "judge": 0.0}})
    marks = retrain.moved(generation(word=8.0, corner=5.0), generation(word=16.0, corner=9.0), posts("x", "y"), pictures, ["cup"], line)
    found = {(m.mark, m.model): (m.champion, m.challenger) for m in marks}
    assert found[("#zq7", "reward")] == (0.0, 16.0), "it has not risen since, and is tried all the same"
    assert found[(PATCH, "judge")] == (1.0, 9.0)
    assert found[("cup", "reward")] == (0.0, 0.0)
    assert len(marks) == len(found) == 6


def test_a_patch_is_put_on_a_copy() -> None:
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    marked = retrain.patched(pictures)
    assert pictures.sum() == 0
    assert (marked[:, -2:, -2:] == 255).all()
    assert marked.sum() == 2 * 2 * 2 * 3 * 255


def test_guarded_numbers_are_those_of_evaluate_or_none(tmp_path) -> None:
    assert retrain.guarded(tmp_path) == Guarded()
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/evaluate.json").write_text('{"boigsd": {"vendi": {"mean": 9.5}, "mismatch_rate": {"mean": 0.1}}}')
    assert retrain.guarded(tmp_path) == Guarded(vendi=9.5, mismatch=0.1, unsafe=None)
