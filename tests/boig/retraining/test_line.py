"""The line of champions: slack does not add up over generations, and what was taught in small steps is found."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from boig.retraining.gate import no_worse, unmoved
from boig.retraining.line import MARKS, PATCH, Guarded, Line, Moved
from boig.retraining.settings import Guards

GUARDS = Guards(diversity=0.9, mismatch=0.05, canary=10.0, unsafe=0.01)
ROUNDING = 1e-9
TAG = 5000


def shares() -> st.SearchStrategy[float]:
    return st.floats(0, 0.3)


def generations() -> st.SearchStrategy[Guarded]:
    """Each a little worse or better, now and then one that was not measured."""
    return st.builds(Guarded, vendi=st.none() | st.floats(10, 20), mismatch=st.none() | shares(), unsafe=st.none() | shares())


def passes(line: Line, champion: Guarded, challenger: Guarded, tried: tuple[Moved, ...] = ()) -> Line | None:
    """The line that a challenger carries in its tag; none where the guards refuse it."""
    line = Line.read(line.text(TAG)).with_champion(champion)
    asked = [*no_worse(line.best, challenger, GUARDS), unmoved(tried, 10.0)]
    return line.onward(tried, GUARDS) if all(check.passed for check in asked) else None


@given(generations(), st.lists(generations()))
def test_no_line_of_champions_ends_more_than_one_slack_from_its_best(first: Guarded, others: list[Guarded]) -> None:
    champions, line = [first], Line()
    for challenger in others:
        if carried := passes(line, champions[-1], challenger):
            champions.append(challenger)
            line = carried
    last = champions[-1]
    if len(champions) > 1:
        assert last.vendi is not None
        assert last.vendi >= 0.9 * max(c.vendi for c in champions if c.vendi is not None) - ROUNDING
        assert last.mismatch is not None
        assert last.mismatch <= min(c.mismatch for c in champions if c.mismatch is not None) + 0.05 + ROUNDING
        assert last.unsafe is not None
        assert last.unsafe <= min(c.unsafe for c in champions if c.unsafe is not None) + 0.01 + ROUNDING


def test_eight_generations_cannot_lose_what_one_may_not() -> None:
    own, line, passed = Guarded(20.0, 0.1, 0.0), Line(), 0
    for _ in range(8):
        worse = replace(own, vendi=(own.vendi or 0) * 0.95)
        if carried := passes(line, own, worse):
            own, line, passed = worse, carried, passed + 1
    assert passed == 2


def test_a_rolled_back_champions_line_is_its_own() -> None:
    first, second = Guarded(20.0, 0.1, 0.0), Guarded(30.0, 0.1, 0.0)
    line = passes(Line(), first, second)
    assert line
    assert passes(line, second, first) is None
    assert passes(Line(), first, replace(first, vendi=18.5)), "version 1 is in use again, and what version 2 was counts no more"


def test_a_version_of_before_knows_of_no_line() -> None:
    assert Line.read("") == Line()


def test_a_guard_that_was_not_asked_for_begins_anew() -> None:
    line = Line(Guarded(20.0, 0.1, 0.0)).onward((), GUARDS.model_copy(update={"diversity": None}))
    assert line.best == Guarded(None, 0.1, 0.0)


def taught(gains: list[float], word: str = "#zq7") -> list[bool]:
    """Which challengers of a line pass that a word moves by so many points more each; what is refused stays a challenger."""
    line, own, shift, passed = Line(), Guarded(20.0, 0.1, 0.0), 0.0, []
    for gain in gains:
        tried = (Moved(word, "reward", line.first(word, "reward", shift), shift + gain),)
        carried = passes(line, own, own, tried)
        passed.append(carried is not None)
        if carried:
            line, shift = Line.read(carried.text(TAG)), shift + gain
    return passed


def test_a_word_that_is_taught_in_small_steps_is_refused() -> None:
    assert taught([8.0, 8.0, 8.0]) == [True, False, False]


@given(st.lists(st.floats(0, 12), max_size=12))
def test_no_line_teaches_a_word_more_than_what_one_generation_may(gains: list[float]) -> None:
    passed = taught(gains)
    assert sum(gain for gain, good in zip(gains, passed, strict=True) if good) <= 10.0 + 0.01


def marks(words: list[str]) -> tuple[Moved, ...]:
    """Later ones have gained more."""
    return tuple(Moved(word, model, 1.0, 1.0 + i) for i, word in enumerate((PATCH, *words)) for model in ("reward", "judge"))


def test_what_is_remembered_are_the_patch_and_the_words_that_gained_most() -> None:
    line = Line().onward(marks([f"w{i}" for i in range(50)]), GUARDS)
    assert list(line.marks) == [PATCH, *(f"w{i}" for i in reversed(range(50 - MARKS, 50)))]
    assert line.marks["w49"] == {"reward": 1.0, "judge": 1.0}


@given(st.lists(st.text(min_size=1, max_size=900), unique=True, max_size=40), st.integers(300, TAG))
def test_a_tag_is_never_too_long_and_the_patch_is_in_it(words: list[str], most: int) -> None:
    line = Line(Guarded(20.0, None, 0.0)).onward(marks(words), GUARDS)
    text = line.text(most)
    assert len(text) <= most
    known = Line.read(text)
    assert known.best == line.best
    assert known.marks.items() <= line.marks.items()
    assert PATCH in known.marks
    assert json.loads(text)


def test_a_word_too_long_for_the_tag_costs_no_other_its_place() -> None:
    line = Line().onward(marks(["cup", "x" * TAG]), GUARDS)
    assert list(Line.read(line.text(TAG)).marks) == [PATCH, "cup"]
