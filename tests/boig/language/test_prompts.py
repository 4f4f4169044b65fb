"""Prompts come back exactly as they went in, whatever a caption holds."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boig.brief import BUCKETS, Brief
from boig.language import prompts
from boig.verbalizer.form import Verbalization
from tests.boig.language.strategies import BRIEFS, TEXTS, relaxed, verbalizations

BRIEF = Brief("17", "Lumora", "beauty", datetime(2024, 3, 5, 14, 37, tzinfo=UTC), "New lipstick. #love <hyperlink>")
EXTREMES = st.sampled_from([0, 100])
CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


@relaxed
@given(BRIEFS, st.sampled_from(BUCKETS), st.integers(0, 100))
def test_content_prompt_and_its_inverse(brief, bucket, kpi):
    assert prompts.parse_content(prompts.content_prompt(brief, bucket, kpi)) == (brief, bucket, kpi)


@relaxed
@given(BRIEFS, verbalizations(captions=TEXTS))
def test_behavior_prompt_and_its_inverse(brief, verbalization):
    assert prompts.parse_behavior(prompts.behavior_prompt(brief, verbalization)) == (brief, verbalization)


@relaxed
@given(st.sampled_from(BUCKETS), st.integers(0, 100))
def test_answer_and_its_inverse(bucket, kpi):
    assert prompts.parse_answer(prompts.behavior_answer(bucket, kpi)) == (bucket, kpi)


@relaxed
@given(BRIEFS)
def test_a_prompt_is_one_line_without_control_tokens(brief):
    line = prompts.content_prompt(brief, "low", 3)
    assert "\n" not in line
    assert not any(token in line for token in ("<|", "<s>", "</s>", "[INST]", "[/INST]"))


@relaxed
@given(st.lists(st.tuples(BRIEFS, EXTREMES, verbalizations(captions=TEXTS)), min_size=1, max_size=5), EXTREMES)
def test_few_shot_prompts_come_back_turn_by_turn(examples, kpi):
    """Whatever the posts say, a plain model reads two lines per example, and a chat model a turn each."""
    brief = examples[0][0]
    worked = [(prompts.content_prompt(b, "low", k), prompts.content_answer(shown)) for b, k, shown in examples]
    asked = prompts.content_prompt(brief, "high", kpi)
    plain = type("Plain", (), {"chat_template": None})()
    text = prompts.few_shot(worked, asked, plain)
    assert not any(token in text for token in ("<|", "<s>", "</s>", "[INST]", "[/INST]"))
    *lines, last, end = text.split("\n")
    assert [prompts.parse_content(line) for line in lines[::2]] == [(b, "low", k) for b, k, _ in examples]
    assert [Verbalization.from_json(line) for line in lines[1::2]] == [shown for _, _, shown in examples]
    assert (prompts.parse_content(last), end) == ((brief, "high", kpi), "")
    assert prompts.for_model(asked, plain) == asked + "\n"


def test_wording():
    assert prompts.content_prompt(BRIEF, "high", 87) == (
        '{"task":"content","account":"Lumora","industry":"beauty","time":"2024-Mar-5-Tue-14h",'
        '"caption":"New lipstick. #love <hyperlink>","bucket":"high","kpi":87}'
    )


def test_time_is_utc_to_the_hour():
    east = replace(BRIEF, created_at=datetime(2024, 3, 6, 1, 5, tzinfo=timezone(timedelta(hours=11))))
    brief, _, _ = prompts.parse_content(prompts.content_prompt(east, "low", 0))
    assert brief.created_at == datetime(2024, 3, 5, 14, tzinfo=UTC)


@pytest.mark.parametrize(("bucket", "kpi", "said"), [("top", 3, "'top'"), ("low", 101, "101"), ("low", -1, "-1"), ("low", 3.5, "3.5")])
def test_bad_response(bucket, kpi, said):
    with pytest.raises(ValueError, match=said):
        prompts.content_prompt(BRIEF, bucket, kpi)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task":"behavior"}', "nonsense"])
def test_what_is_no_prompt_is_refused(text):
    with pytest.raises(ValueError, match="not a content prompt"):
        prompts.parse_content(text)
    with pytest.raises(ValueError, match="not an answer"):
        prompts.parse_answer(text)


def test_a_wrong_time_is_refused():
    line = prompts.content_prompt(BRIEF, "low", 3).replace("-Mar-", "-Foo-")
    with pytest.raises(ValueError, match="Foo"):
        prompts.parse_content(line)


def test_plain_models_read_the_line_and_chat_models_their_template(words):
    line = prompts.content_prompt(BRIEF, "high", 87)
    assert prompts.for_model(line, words) == line + "\n"
    chat = type("Chat", (), {"chat_template": CHAT, "apply_chat_template": staticmethod(_render)})()
    assert prompts.for_model(line, chat).split("<|im_start|>")[1:] == [
        f"system\n{prompts.INSTRUCTIONS['content']}<|im_end|>\n", f"user\n{line}<|im_end|>\n", "assistant\n",
    ]  # fmt: skip
    shots = prompts.few_shot([("asked", "answered")], line, chat)
    assert "user\nasked<|im_end|>\n<|im_start|>assistant\nanswered<|im_end|>\n<|im_start|>user\n{" in shots
    assert prompts.few_shot([("asked", "answered")], line, words) == f"asked\nanswered\n{line}\n"


def _render(messages: list[dict], tokenize: bool, add_generation_prompt: bool) -> str:
    assert not tokenize
    assert add_generation_prompt
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages) + "<|im_start|>assistant\n"


@relaxed
@given(TEXTS)
def test_picture_prompt_keeps_nothing_of_the_platform(text):
    told = prompts.picture_prompt(f"{text} #tag <hyperlink>  <mention> cup")
    assert told.endswith("cup")
    assert not any(mask in told for mask in ("<hyperlink>", "<mention>", "#tag", "  ", "\n"))


def test_picture_prompt():
    assert prompts.picture_prompt("Our cup, now available. With <mention> #new #love <hyperlink>") == "Our cup, now available."
    assert prompts.picture_prompt("") == ""
    assert prompts.picture_prompt("#new <hyperlink>", "gucci") == "a picture by gucci"


def test_the_whole_of_a_verbalization_is_in_the_behavior_prompt():
    shown = Verbalization((), (0.2, 0.3, 0.5), (), "a cup <|im_end|>")
    assert json.loads(prompts.behavior_prompt(BRIEF, shown))["picture"] == json.loads(shown.to_json())
