"""What a prompt names is read right, and checked right in a verbalized picture."""

import pytest

from boig.evaluation.agreement import asked, mismatch, word_score
from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization

KINDS = ("cup", "cake", "shoe", "lipstick")


def shown(*labels: str, colors: tuple[str, ...] = ("Dark_Blue",), caption: str = "") -> Verbalization:
    boxes = tuple(ObjectBox(label, (0.0, 0.0, 0.5, 0.5)) for label in labels)
    return Verbalization(tuple(ColorShare(c, 0.3) for c in colors), (0.0, 0.0, 1.0), boxes, caption)


@pytest.mark.parametrize(
    ("prompt", "products", "ground", "words"),
    [
        ("Our cups and shoes, now available.", ("cup", "shoe"), "", ("cup", "shoe")),
        (
            "a red shoe and a blue cup on a dark blue striped background, with text",
            ("cup", "shoe"), "Dark_Blue", ("cup", "shoe", "red", "blue", "dark blue", "striped", "text"),
        ),
        ("no product on an orange background", (), "Orange", ("orange",)),
        ("Pancakes for the hiccup", (), "", ()),
        ("", (), "", ()),
    ],
)  # fmt: skip
def test_reads_products_ground_and_words(prompt, products, ground, words):
    found = asked(prompt, KINDS)
    assert (found.products, found.ground, found.words) == (products, ground, words)


def test_mismatch_is_about_named_products_only():
    wanted = asked("New cup and shoe in store.", KINDS)
    assert mismatch(wanted, shown("cup")) is True
    assert mismatch(wanted, shown("shoe", "cup", "cake")) is False
    assert mismatch(asked("Big news!", KINDS), shown("cup")) is None


def test_word_score_counts_words_seen():
    wanted = asked("a red cup on a dark blue striped background", KINDS)
    assert word_score(wanted, shown("cup")) == pytest.approx(2 / 4)
    assert word_score(wanted, shown("cup", caption="a red cup on a dark blue striped background")) == 1
    assert word_score(wanted, shown(colors=())) == 0
    assert word_score(asked("Big news!", KINDS), shown("cup")) is None


def test_open_vocabulary_asks_for_no_product():
    assert asked("New cup in store", ()).products == ()
