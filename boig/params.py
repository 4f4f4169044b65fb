"""params.yaml as types: one frozen section per stage, every key required, unknown keys refused.

A flow loads its own section and no other, so that DVC's per-section tracking tells the truth about what a stage depends on.
"""

import difflib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from boig.feed.rules import Columns, Duplicates, Fetch, KpiRule, Negatives, PictureLimits, SplitRule
from boig.diffusion.settings import Base, Ddpo, Group, KpiGuided, Panel, Rewarding, Supervised
from boig.evaluation.settings import Drawing, FeatureBackend, MethodName, TextBackend, Verbalizing, WantedKpi
from boig.language.settings import Decoding, Dtype, Lora, Scratch, Training
from boig.reward.settings import Features, Fit, HeadRule, JudgeRule, Weights
from boig.section import Count, Positive, Resources, Section, Seed, Share
from boig.verbalizer.settings import CaptionerSettings, DetectorSettings


class Simulate(Section):
    """The embedded feed, whose law of likes is known."""

    seed: Seed
    """Draws the posts, their pictures, noise and dirt."""
    law_seed: Seed
    """Draws the accounts and the weights of the law; another seed is another law."""
    accounts_per_industry: Count
    """There are six industries."""
    posts: Count
    """Of the accounts' own, with a picture; retweets and videos come on top."""
    picture_px: Annotated[int, Field(ge=32)]
    """Side of a rendered picture."""
    dirt: Annotated[float, Field(ge=0, le=3)]
    """Scale of the dirt: 1 is that of a real feed, 0 a clean one."""
    kpi: KpiRule
    splits: SplitRule
    batch_size: Count
    """Pictures per render batch."""
    resources: Resources


class Ingest(Section):
    """Any feed into the `posts` contract."""

    feed: str
    """Folder of the raw feed (or a table file), relative to the workspace. `data/feed` is the simulated one."""
    columns: Columns
    """Of a table; X API pages need none."""
    industries: tuple[str, ...]
    """Words by which an account's profile tells its industry; the first one that it contains counts."""
    picture: PictureLimits
    fetch: Fetch
    kpi: KpiRule
    duplicates: Duplicates
    splits: SplitRule
    negatives: Negatives
    batch_size: Count
    """Pictures per decode batch."""
    resources: Resources


class Verbalize(Section):
    """Pictures as text."""

    detector: DetectorSettings
    captioner: CaptionerSettings
    min_coverage: Share
    """A color must cover this share of the picture to be named."""
    batch_size: Count
    """Pictures that an actor takes at a time."""
    check_pictures: Annotated[int, Field(ge=0)]
    """Freshly rendered pictures on which the detector is scored; 0 for detectors of real pictures."""
    check_seed: Seed
    """Draws the scenes of those pictures; not a seed that the detector was trained on."""
    resources: Resources


class TrainBoigllm(Section):
    """BoigLLM, both directions on one model."""

    seed: Seed
    """Draws fresh weights, the order of the examples, the posts that are evaluated, and the intervals' resamples."""
    base: str
    """`scratch`, a folder, a hub id, or `package:<module>` for the GGUF file that an installed package ships."""
    revision: str | None
    """Commit of a hub id."""
    dtype: Dtype
    """Of the weights; float32 on a CPU, where half precision is far slower."""
    scratch: Scratch
    """Used where `base` is `scratch`."""
    lora: Lora | None
    """None trains all weights."""
    training: Training
    decoding: Decoding
    embedder: str
    """Sentence encoder of the neighbor baseline and the cosine metrics: a folder, a hub id or `package:<module>`."""
    embedder_revision: str | None
    resources: Resources
    """Of the training; the decoding takes as many cores in all."""


class TrainReward(Section):
    """Reward model on BoigLLM, and the independent judge."""

    seed: Seed
    """Of weights, pairs, augmentation, dropout and bootstrap."""
    feed: str
    """Folder of the raw feed; a simulated one holds `ceiling.json`, to which the scores are compared."""
    features: Features
    head: HeadRule
    fit: Fit
    weights: Weights
    judge: JudgeRule
    resources: Resources
    """Of the reward; the judge and the controls train beside it, on as much."""


class AlignBoigsd(Section):
    """Adapters of the diffusion model, one per method."""

    seed: Seed
    """Draws adapters, the order of prompts, noise, and the panel."""
    methods: Annotated[tuple[Literal["pft", "kpi_guided", "ddpo", "boigsd"], ...], Field(min_length=1)]
    """What to train. `boigsd` is ours."""
    base: Base
    verbalizer: Verbalizing
    reward: Rewarding
    panel: Panel
    pft: Supervised
    kpi_guided: KpiGuided
    ddpo: Ddpo
    boigsd: Group
    resources: Resources
    """Of the training, per method."""
    scoring: Resources
    """Of the reward's actors, beside it."""


class Evaluate(Section):
    """Metrics, arena, report and model card."""

    seed: Seed
    """Draws the briefs, the pictures' noise and the intervals' resamples."""
    methods: Annotated[tuple[MethodName, ...], Field(min_length=1)]
    """Rows of the generation table; `base` must be one of them."""
    briefs: Count
    """Held-out posts that pictures are drawn for."""
    reference_pictures: Annotated[int, Field(ge=2)]
    """Real pictures of other posts, for the distances."""
    shown: Count
    """Briefs in the report's picture grid."""
    neighbors: Count
    """Training posts nearest in words, of which the best-liked one gives the retrieved prompt."""
    wanted: WantedKpi
    drawing: Drawing
    verbalizer: Verbalizing
    reference: str
    """Folder of the simulator's reference classifier; not read on a real feed."""
    features: FeatureBackend
    text_score: TextBackend
    describe_batch: Count
    """Descriptions that BoigLLM writes together."""
    score_batch: Count
    """Pictures that are looked at together."""
    resources: Resources


SECTIONS: dict[str, type[Section]] = {
    "simulate": Simulate,
    "ingest": Ingest,
    "verbalize": Verbalize,
    "train_boigllm": TrainBoigllm,
    "train_reward": TrainReward,
    "align_boigsd": AlignBoigsd,
    "evaluate": Evaluate,
}
"""In the order of the pipeline. A section's name is its stage's name."""


def load(section: str, path: Path = Path("params.yaml")) -> Section:
    """Read and check one section.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML; a section or a key is unknown or missing; a value is out of its range. One line, with the mend.
    """
    raw = read(path)
    for name in raw:
        if name not in SECTIONS:
            raise ValueError(f"{path}: unknown section {name!r}{_hint(name, SECTIONS)}; the sections are {', '.join(SECTIONS)}")
    if section not in raw:
        raise ValueError(f"{path}: section {section!r} is missing; `git show HEAD:params.yaml` has it")
    try:
        return SECTIONS[section].model_validate(raw[section])
    except ValidationError as error:
        raise ValueError(f"{path}: " + "; ".join(_one_line(section, detail) for detail in error.errors())) from None


def read(path: Path) -> dict[str, dict]:
    """The file as it is, unchecked but for being a mapping.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a YAML mapping.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing; run from the project's root")
    try:
        raw = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path} must map section names to keys, is {type(raw).__name__}")
    return raw


def _one_line(section: str, detail: dict) -> str:
    """One pydantic error as `section.key: what; the mend`."""
    location = [str(part) for part in detail["loc"]]
    key = ".".join([section, *location])
    if detail["type"] == "extra_forbidden":
        known = _keys(section, location[:-1])
        return f"{key}: unknown key{_hint(location[-1], known)}; remove it or use one of {', '.join(known)}"
    if detail["type"] == "missing":
        return f"{key}: missing; add it ({_doc(section, location)})"
    return f"{key}: {detail['msg']}, got {detail['input']!r}"


def _model(section: str, location: list[str]) -> type[Section] | None:
    """The model that a path of keys leads to, where every step is a plain nested section."""
    model: object = SECTIONS[section]
    for key in location:
        field = model.model_fields.get(key) if isinstance(model, type) and issubclass(model, Section) else None
        model = field.annotation if field else None
    return model if isinstance(model, type) and issubclass(model, Section) else None


def _keys(section: str, location: list[str]) -> list[str]:
    model = _model(section, location)
    return list(model.model_fields) if model else []


def _doc(section: str, location: list[str]) -> str:
    model = _model(section, location[:-1])
    field = model.model_fields.get(location[-1]) if model else None
    kind = getattr(field.annotation, "__name__", str(field.annotation)) if field else "a value"
    return f"{kind}, see boig/params.py"


def _hint(name: str, known: dict | list[str]) -> str:
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
