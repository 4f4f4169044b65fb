"""The prompts of BoigLLM, both ways, and their exact inverses (paper.md §1 and §4).

Content simulation: account, industry, time, caption and the wanted KPI → how the picture should look. Behavior
simulation: account, industry, time, caption and a picture as text → the KPI. Each prompt is one line of strict JSON, so
that any caption survives, with separators, line breaks and braces in it. The KPI is written twice: as the published
bucket word, and as an integer 0–100 (ours).

Ours, not the paper's: times are written to the hour, since a minute says nothing about a post; and what could be read as
a chat template's control token is escaped (`<|` becomes `\\u003c|`), so that text in a post cannot forge a turn.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from boig.brief import BUCKETS, Brief
from boig.verbalizer.form import Verbalization

if TYPE_CHECKING:  # the type alone costs seconds of import
    from transformers import PreTrainedTokenizerBase

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
INSTRUCTIONS = {
    "content": (
        "You plan pictures for posts of brands. Given account, industry, time, caption and the wanted response (bucket and kpi, "
        "0 to 100), describe the picture that gets this response. Answer with one JSON object and nothing else: colors (at most 5, "
        "with coverage, largest first), tones (warm, neutral, cool; they sum to 1), objects (label and box x0, y0, x1, y1 in 0 to 1) "
        "and a caption."
    ),
    "behavior": (
        "You predict how people respond to posts of brands. Given account, industry, time, caption and the picture as JSON, answer "
        "with one JSON object and nothing else: bucket (low, medium or high) and kpi (0 to 100)."
    ),
}
"""What a chat model is told; a model without a chat template learns the task from the prompt's `task` field."""
_CONTROL = re.compile(r"<(?=\||/?s>)|\[(?=/?INST)")
_TIME = re.compile(r"(\d{4})-(\w{3})-(\d{1,2})-(\w{3})-(\d{1,2})h")
_HASHTAG = re.compile(r"#\w+")
_MASK = re.compile(r"(?:\b(?:with|by|via|from|at)\s+)?<(?:hyperlink|mention)>", re.IGNORECASE)
"""A mask, and the preposition that would be left hanging without it."""


def content_prompt(brief: Brief, bucket: str, kpi: int) -> str:
    """The line that asks for a picture with that response.

    Args:
        brief: the post without its picture.
        bucket: one of `BUCKETS`.
        kpi: percentile within the account, integer, 0–100.

    Raises:
        ValueError: an unknown bucket or a KPI outside 0–100.
    """
    return _line({"task": "content", **_context(brief), **_response(bucket, kpi)})


def behavior_prompt(brief: Brief, verbalization: Verbalization) -> str:
    """The line that asks for the response to a picture."""
    return _behavior(_behavior_head(brief), verbalization)


def behavior_prompts(briefs: Sequence[Brief], verbalizations: Sequence[Verbalization]) -> list[str]:
    """`behavior_prompt` of N pictures; what a brief says is written once."""
    heads = {brief: _behavior_head(brief) for brief in dict.fromkeys(briefs)}
    return [_behavior(heads[brief], v) for brief, v in zip(briefs, verbalizations, strict=True)]


def behavior_answer(bucket: str, kpi: int) -> str:
    """The completion of `behavior_prompt`; arguments and errors as in `content_prompt`."""
    return _line(_response(bucket, kpi))


def content_answer(verbalization: Verbalization) -> str:
    """The completion of `content_prompt`."""
    return verbalization.to_json()


def parse_content(text: str) -> tuple[Brief, str, int]:
    """Inverse of `content_prompt`: brief, bucket, KPI. The brief has no post id, and its time is cut to the hour.

    Raises:
        ValueError: not a content prompt.
    """
    raw = _fields(text, "content", ("bucket", "kpi"))
    return _brief(raw), *_checked(raw["bucket"], raw["kpi"])


def parse_behavior(text: str) -> tuple[Brief, Verbalization]:
    """Inverse of `behavior_prompt`, as `parse_content`.

    Raises:
        ValueError: not a behavior prompt.
    """
    raw = _fields(text, "behavior", ("picture",))
    return _brief(raw), Verbalization.from_json(json.dumps(raw["picture"]))


def parse_answer(text: str) -> tuple[str, int]:
    """Inverse of `behavior_answer`.

    Raises:
        ValueError: not a behavior answer.
    """
    try:
        raw = json.loads(text)
        return _checked(raw["bucket"], raw["kpi"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"not an answer of bucket and kpi ({type(error).__name__}: {error}): {text[:80]!r}") from error


def for_model(prompt: str, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The prompt as the model's tokenizer wants it: in its chat template if it has one, else the line and a line break."""
    if tokenizer.chat_template is None:
        return prompt + "\n"
    task = json.loads(prompt)["task"]
    messages = [{"role": "system", "content": INSTRUCTIONS[task]}, {"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def few_shot(examples: list[tuple[str, str]], prompt: str, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The prompt after worked examples, each a (prompt, answer) of the same task. An answer cannot forge a turn either."""
    examples = [(asked, _escape(answer)) for asked, answer in examples]
    if tokenizer.chat_template is None:
        return "".join(f"{asked}\n{answer}\n" for asked, answer in examples) + prompt + "\n"
    turns = [turn for asked, answer in examples for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": answer})]
    messages = [{"role": "system", "content": INSTRUCTIONS[json.loads(prompt)["task"]]}, *turns, {"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def picture_prompt(caption: str, account: str = "") -> str:
    """A post's caption as the diffusion model is to read it: without link and mention masks, hashtags and extra blanks.

    Where that leaves no words, all that is known is who posts: `a picture by {account}`, or nothing without an account.
    """
    words = " ".join(_HASHTAG.sub(" ", _MASK.sub(" ", caption)).split())
    return words or (f"a picture by {account}" if account else "")


def _behavior_head(brief: Brief) -> str:
    return _line({"task": "behavior", **_context(brief)})


def _behavior(head: str, verbalization: Verbalization) -> str:
    return f'{head[:-1]},"picture":{_escape(verbalization.to_json())}}}'


def _context(brief: Brief) -> dict:
    return {"account": brief.account, "industry": brief.industry, "time": _time(brief.created_at), "caption": brief.caption}


def _time(moment: datetime) -> str:
    """2024-Mar-5-Tue-14h, in UTC: words for month and weekday, so that their numbers are not confused."""
    utc = moment.astimezone(UTC)
    return f"{utc.year:04d}-{MONTHS[utc.month - 1]}-{utc.day}-{WEEKDAYS[utc.weekday()]}-{utc.hour}h"


def _response(bucket: str, kpi: int) -> dict:
    bucket, kpi = _checked(bucket, kpi)
    return {"bucket": bucket, "kpi": kpi}


def _checked(bucket: str, kpi: int) -> tuple[str, int]:
    if bucket not in BUCKETS:
        raise ValueError(f"bucket must be one of {BUCKETS}, got {bucket!r}")
    if isinstance(kpi, bool) or kpi != int(kpi) or not 0 <= kpi <= 100:
        raise ValueError(f"kpi must be an integer 0–100, got {kpi!r}; round the percentile")
    return bucket, int(kpi)


def _line(fields: dict) -> str:
    return _escape(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def _escape(text: str) -> str:
    """The same JSON, without control tokens of chat templates in its strings."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _fields(text: str, task: str, rest: tuple[str, ...]) -> dict:
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not a {task} prompt ({error}): {text[:80]!r}") from error
    keys = ["task", "account", "industry", "time", "caption", *rest]
    if not isinstance(raw, dict) or list(raw) != keys or raw["task"] != task:
        raise ValueError(f"not a {task} prompt, whose keys are {keys}: {text[:80]!r}")
    return raw


def _brief(raw: dict) -> Brief:
    found = _TIME.fullmatch(raw["time"])
    if not found or found[2] not in MONTHS:
        raise ValueError(f"time must look like 2024-Mar-5-Tue-14h, got {raw['time']!r}")
    moment = datetime(int(found[1]), MONTHS.index(found[2]) + 1, int(found[3]), int(found[5]), tzinfo=UTC)
    return Brief("", raw["account"], raw["industry"], moment, raw["caption"])
