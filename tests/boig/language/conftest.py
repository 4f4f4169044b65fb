"""One small world, its tokenizer and an untrained model for all tests of the package."""

import pytest

from boig.language import model, tokenizer
from boig.language.examples import vocabulary_texts
from tests.boig.language.world import world


@pytest.fixture(scope="session")
def posts():
    return world(240)


@pytest.fixture(scope="session")
def words(posts):
    return tokenizer.train(vocabulary_texts(posts), 1024)


@pytest.fixture(scope="session")
def untrained(words):
    return model.create(words, hidden_size=32, layers=2, heads=2, feed_forward=48, seed=3).eval()
