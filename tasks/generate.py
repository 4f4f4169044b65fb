"""Ask for pictures: a brief and a wanted KPI in; a description, pictures, and what each is expected to bring out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from boig.brief import BUCKETS, Brief
from boig.contracts import POSTS
from boig.diffusion.pipeline import load_adapter, load_base
from boig.diffusion.sampler import generate
from boig.diffusion.settings import Sampling
from boig.evaluation.settings import WantedKpi
from boig.language.describe import describe
from boig.language.model import load as load_language
from boig.language.prompts import picture_prompt
from boig.reward.judge import Judge
from boig.reward.service import Service
from boig.sections.evaluate import Evaluate
from boig.verbalizer.form import Verbalization

BOIGLLM, REWARD, JUDGE, ADAPTERS = Path("models/boigllm"), Path("models/reward"), Path("models/judge"), Path("models/boigsd")
ADAPTER = "boigsd"
METHODS: tuple[str, ...] = ("boigsd", "pft", "kpi_guided", "ddpo", "base", "boigllm_prompt")
"""Adapters, the base model, and the base model with BoigLLM's description as its prompt."""


@dataclass(frozen=True)
class Wanted:
    """A KPI as people ask for it."""

    bucket: str
    kpi: int
    """0–100."""

    @classmethod
    def of(cls, text: str, known: WantedKpi) -> "Wanted":
        """From a bucket's name, or from a number, which belongs to the bucket nearest to it.

        Raises:
            ValueError: neither.
        """
        levels = known.model_dump()
        if text in levels:
            return cls(text, levels[text])
        if not text.isdecimal() or int(text) > 100:
            raise ValueError(f"--kpi must be {', '.join(BUCKETS)} or an integer from 0 to 100, got {text!r}")
        return cls(min(BUCKETS, key=lambda b: abs(levels[b] - int(text))), int(text))


@dataclass(frozen=True)
class Offer:
    """One picture and what is expected of it."""

    picture: np.ndarray
    """uint8 (H, W, 3)."""
    seed: int
    kpi: float
    """Expected by the reward, 0–100."""
    lo: float
    """Lower end of the conformal 90 % interval."""
    hi: float
    judge: float
    """Expected by the independent judge, 0–100."""
    shown: Verbalization
    """What the picture shows."""


@dataclass(frozen=True)
class Answer:
    """What came of an order."""

    brief: Brief
    wanted: Wanted
    method: str
    prompt: str
    description: Verbalization
    """How the picture should look, according to BoigLLM."""
    offers: tuple[Offer, ...]
    """The most promising first."""


@dataclass(frozen=True)
class Studio:
    """What makes pictures, as plain functions."""

    describe: Callable[[Brief, Wanted], Verbalization]
    draw: Callable[[list[str], list[int], str], np.ndarray]
    """prompts, seeds, bucket → uint8 (N, H, W, 3)."""
    verbalize: Callable[[np.ndarray], list[Verbalization]]
    expect: Callable[[list[Brief], np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
    """(N,) each: expected KPI, lower and upper end."""
    judge: Callable[[list[Brief], np.ndarray], np.ndarray]


def default_method(wanted: Wanted) -> str:
    """BoigSD is aligned to a high KPI; for any other one BoigLLM's description steers the base model."""
    return ADAPTER if wanted.bucket == BUCKETS[-1] else "boigllm_prompt"


def open_studio(section: Evaluate, method: str) -> Studio:
    """Load all models.

    Raises:
        ValueError: an unknown method.
        FileNotFoundError: a model is missing.
    """
    if method not in METHODS:
        raise ValueError(f"--method must be one of {', '.join(METHODS)}, got {method!r}")
    for path in (BOIGLLM, REWARD, JUDGE):
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is missing; run `make repro` first")
    how = section.drawing
    model, tokenizer = load_language(BOIGLLM, device=how.device)
    pipe = load_base(how.base, how.revision, how.device, how.dtype)
    own = Sampling(steps=how.steps, guidance=how.guidance, kpi=None)
    sampling = own if method in ("base", "boigllm_prompt") else load_adapter(pipe, ADAPTERS / method)
    service, judge = Service.load(section.verbalizer, REWARD, device=how.device), Judge.load(JUDGE)

    def expect(briefs: list[Brief], pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = service(briefs, pictures)
        return scores.parts["engagement"], *service.reward.interval(scores, briefs)

    def draw(prompts: list[str], seeds: list[int], bucket: str) -> np.ndarray:
        kpi = (bucket, BUCKETS[0] if bucket == BUCKETS[-1] else BUCKETS[-1]) if sampling.kpi else None
        return generate(pipe, prompts, seeds, sampling.steps, sampling.guidance, kpi=kpi, batch_size=min(how.batch_size, len(seeds)))

    return Studio(
        describe=lambda brief, wanted: describe(model, tokenizer, [brief], wanted.bucket, wanted.kpi)[0],
        draw=draw, verbalize=service.verbalize, expect=expect, judge=judge.score,
    )  # fmt: skip


def brief_of(account: str, industry: str, caption: str, when: datetime) -> Brief:
    """The order as a brief; the industry of a known account is looked up where none is given.

    Raises:
        ValueError: no caption.
    """
    if not picture_prompt(caption):
        raise ValueError(f"--caption {caption!r} leaves no words to draw; say what is advertised")
    if not industry and Path(POSTS.path).is_file():
        table = POSTS.read().select(["account", "industry"]).to_pylist()
        industry = next((row["industry"] for row in table if row["account"] == account), "")
    return Brief("", account, industry, when, caption)


def make(studio: Studio, brief: Brief, wanted: Wanted, method: str, count: int, seed: int) -> Answer:
    """Describe, draw, and say what to expect.

    Raises:
        ValueError: fewer than one picture asked for.
    """
    if count < 1:
        raise ValueError(f"--n is {count}, must be at least 1")
    description = studio.describe(brief, wanted)
    prompt = description.caption if method == "boigllm_prompt" else picture_prompt(brief.caption)
    seeds = [int(s) for s in np.random.default_rng(seed).integers(2**31, size=count)]
    pictures = studio.draw([prompt] * count, seeds, wanted.bucket)
    shown, briefs = studio.verbalize(pictures), [brief] * count
    kpi, low, high = studio.expect(briefs, pictures)
    judged = studio.judge(briefs, pictures)
    offers = [Offer(*row) for row in zip(pictures, seeds, kpi.tolist(), low.tolist(), high.tolist(), judged.tolist(), shown, strict=True)]
    return Answer(brief, wanted, method, prompt, description, tuple(sorted(offers, key=lambda o: (-o.kpi, o.seed))))


def write(answer: Answer, folder: Path) -> Path:
    """Pictures as PNG, best first, and answer.json beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, offer in enumerate(answer.offers):
        name = f"picture_{i + 1:02d}.png"
        Image.fromarray(offer.picture).save(folder / name)
        expected = {"mean": round(offer.kpi, 1), "lo": round(offer.lo, 1), "hi": round(offer.hi, 1)}
        judge, shows = round(offer.judge, 1), json.loads(offer.shown.to_json())
        rows.append({"file": name, "seed": offer.seed, "expected_kpi": expected, "judge": judge, "shows": shows})
    brief = answer.brief
    content = {
        "account": brief.account, "industry": brief.industry, "time": brief.created_at.isoformat(), "caption": brief.caption,
        "wanted": {"bucket": answer.wanted.bucket, "kpi": answer.wanted.kpi}, "method": answer.method, "prompt": answer.prompt,
        "description": json.loads(answer.description.to_json()), "interval": "conformal, 90 %", "pictures": rows,
    }  # fmt: skip
    path = folder / "answer.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path
