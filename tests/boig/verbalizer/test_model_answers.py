"""What models of transformers answer, as text: brought back to labels, read as captions, or refused."""

import pytest

from boig.verbalizer.transformers_captioner import parse_caption
from boig.verbalizer.transformers_detector import asked_label


def test_what_a_model_calls_an_object_is_brought_back_to_the_labels():
    labels = ("coffee cup", "shoe", "running shoe")
    assert [asked_label(p, labels) for p in ("coffee cup", "coffee", "running shoe. [SEP]", "shoe", "[SEP]", "")] == [
        "coffee cup", "coffee cup", "running shoe", "shoe", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "a cup",
        '{"caption": "a"} and more',
        '{"caption": 3}',
        '{"Caption": "a"}',
        '{"caption": "a", "b": 1}',
        '["a"]',
        '{"caption": " "}',
    ],
)
def test_only_the_strict_answer_is_a_caption(answer):
    with pytest.raises(ValueError, match=r"JSON|caption"):
        parse_caption(answer)
    assert parse_caption(' {"caption": "a  red\\ncup"} ') == "a red cup"
