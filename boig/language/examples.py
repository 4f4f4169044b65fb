"""Posts with what their pictures show, as training texts of both directions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from boig.brief import Brief
from boig.language.prompts import behavior_answer, behavior_prompt, content_answer, content_prompt
from boig.language.settings import Blur, Training
from boig.verbalizer.form import Verbalization

_SYLLABLES = (
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "jen",
    "kir",
    "lo",
    "mun",
    "na",
    "pel",
    "qui",
    "ros",
    "su",
    "tam",
    "ul",
    "vi",
    "wex",
    "zan",
)


@dataclass(frozen=True)
class Example:
    """A brief, the response it got, and what its picture shows."""

    brief: Brief
    bucket: str
    kpi: int
    """Percentile within the account, rounded, 0–100."""
    verbalization: Verbalization


@dataclass(frozen=True)
class Text:
    """A prompt and its answer, as a model is trained on them; without chat template and end token."""

    prompt: str
    answer: str


def content(example: Example) -> Text:
    """The example in the direction brief + KPI → picture."""
    return Text(content_prompt(example.brief, example.bucket, example.kpi), content_answer(example.verbalization))


def behavior(example: Example) -> Text:
    """The example in the direction brief + picture → KPI."""
    return Text(behavior_prompt(example.brief, example.verbalization), behavior_answer(example.bucket, example.kpi))


def training_texts(posts: Sequence[Example], negatives: Sequence[Example], settings: Training, seed: int) -> list[Text]:
    """All passes over the training data, one after the other; the trainer mixes them.

    Negatives, posts with a picture that is not theirs, teach the behavior direction only: nobody wants such a picture.

    Args:
        posts: of split train.
        negatives: posts of split train with other pictures.
        settings: passes and shares.
        seed: of made-up accounts and of the choice of behavior examples.

    Raises:
        ValueError: no posts.
    """
    if not posts:
        raise ValueError("no posts of split train have a verbalized picture; check the ingest and verbalize stages")
    both = [*posts, *negatives]
    texts: list[Text] = []
    for number in range(settings.passes):
        rng = np.random.default_rng([seed, number])
        unknown = rng.random(len(posts)) < settings.unknown_share
        named = [_anonymous(e, rng) if masked else e for e, masked in zip(posts, unknown, strict=True)]
        texts += [content(_blurred(e, settings.blur, rng)) for e in named]
        chosen = np.sort(rng.permutation(len(both))[: round(settings.behavior_share * len(both))])
        texts += [behavior(_blurred(both[i], settings.blur, rng)) for i in chosen]
    return texts


def validation_texts(posts: Sequence[Example]) -> list[Text]:
    """Both directions of each post, as they are."""
    return [make(e) for e in posts for make in (content, behavior)]


def vocabulary_texts(posts: Sequence[Example]) -> list[str]:
    """The free text of the posts, for the tokenizer: what stands between numbers, color names and JSON."""
    briefs = [part for e in posts for part in (e.brief.account, e.brief.industry, e.brief.caption)]
    pictures = [part for e in posts for part in (*(o.label for o in e.verbalization.objects), e.verbalization.caption)]
    return briefs + pictures


def _anonymous(example: Example, rng: np.random.Generator) -> Example:
    """The example with a made-up account of two to four syllables."""
    name = "".join(_SYLLABLES[i] for i in rng.integers(len(_SYLLABLES), size=int(rng.integers(2, 5))))
    return replace(example, brief=replace(example.brief, account=name.title() if rng.random() < 0.5 else name))


def _blurred(example: Example, blur: Blur, rng: np.random.Generator) -> Example:
    """The example with noise on its brief and KPI; what its picture shows stays."""
    brief = example.brief
    days, hours = rng.integers(-blur.days, blur.days + 1), rng.integers(-2, 3) if blur.days else 0
    words = [word for word in brief.caption.split() if rng.random() >= blur.words] if blur.words else [brief.caption]
    moved = replace(brief, created_at=brief.created_at + timedelta(days=int(days), hours=int(hours)), caption=" ".join(words))
    return replace(example, brief=moved, kpi=int(np.clip(round(example.kpi + blur.kpi * rng.standard_normal()), 0, 100)))
