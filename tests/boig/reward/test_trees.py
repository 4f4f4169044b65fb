from pathlib import Path

import numpy as np
import pytest

from boig.reward.settings import TreesRule
from boig.reward.trees import Trees

RULE = TreesRule(weight=0.25, rounds=40, learning_rate=0.1, leaves=4, min_posts=5, l2=1.0)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Numbers (300, 6), and a target with a step that no line follows."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(300, 6)).astype(np.float32)
    return numbers, (np.abs(numbers[:, 0]) < 0.6) + 0.1 * rng.normal(size=300)


def test_trees_find_what_no_line_follows(rows):
    numbers, target = rows
    half = Trees.train(numbers[:200], target[:200], RULE.model_copy(update={"weight": 1.0}), seed=1)
    assert half is not None
    assert np.corrcoef(half.mix(np.zeros(100), numbers[200:]), target[200:])[0, 1] > 0.8


def test_the_mean_is_weighted(rows):
    numbers, target = rows
    some, all_of_it = (Trees.train(numbers, target, RULE.model_copy(update={"weight": w}), seed=1) for w in (0.25, 1.0))
    heads = np.linspace(-1, 1, len(numbers))
    assert some.mix(heads, numbers) == pytest.approx(0.75 * heads + 0.25 * all_of_it.mix(heads, numbers))


def test_a_row_does_not_depend_on_its_company(rows):
    numbers, target = rows
    trees = Trees.train(numbers, target, RULE, seed=1)
    heads = np.zeros(len(numbers))
    alone = np.concatenate([trees.mix(heads[i : i + 1], numbers[i : i + 1]) for i in range(len(numbers))])
    assert (trees.mix(heads, numbers) == alone).all()


def test_equal_inputs_give_equal_files_which_load_to_equal_scores(rows, tmp_path: Path):
    numbers, target = rows
    first, second = (Trees.train(numbers, target, RULE, seed=1) for _ in range(2))
    for name, trees in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        trees.save(tmp_path / name)
    assert (tmp_path / "a/trees.txt").read_bytes() == (tmp_path / "b/trees.txt").read_bytes()
    heads = np.zeros(len(numbers))
    assert (Trees.load(tmp_path / "a", RULE.weight).mix(heads, numbers) == first.mix(heads, numbers)).all()


def test_weight_0_is_no_trees_and_a_missing_file_is_named(rows, tmp_path: Path):
    assert Trees.train(*rows, RULE.model_copy(update={"weight": 0.0}), seed=1) is None
    assert Trees.load(tmp_path, 0.0) is None
    with pytest.raises(FileNotFoundError, match=r"trees.txt is missing; run"):
        Trees.load(tmp_path, 0.5)
