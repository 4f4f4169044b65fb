"""Which networks look at pictures for the distances and the text–picture score: part of `params.yaml: evaluate`. No torch here."""

from typing import Annotated, Literal

from pydantic import Field

from boig.section import Count, Section, Share
from boig.verbalizer.settings import CaptionerSettings, DetectorSettings

MethodName = Literal[
    "base", "boigllm_prompt", "retrieved_prompt", "pft", "kpi_guided", "best_of_4", "best_of_16", "ddpo", "boigsd", "boigsd_best_of_4",
    "real",
]  # fmt: skip
Kpi = Annotated[int, Field(ge=0, le=100)]


class FeatureBackend(Section):
    """The space in which sets of pictures are compared."""

    kind: Literal["reference", "imagenet", "clip"]
    """`reference`: the simulator's classifier, for rendered pictures. `imagenet`: the packaged MobileNetV2, for real ones. `clip`: any
    CLIP-like model."""
    model: str
    """Folder of the reference classifier, or folder or hub id of the CLIP-like model; empty for `imagenet`."""
    revision: str
    """Commit of a hub id; empty for a folder."""


class TextBackend(Section):
    """What says how well a picture fits its prompt."""

    kind: Literal["words", "clip"]
    """`words`: share of the prompt's checkable words that the verbalized picture contains. `clip`: cosine in a CLIP-like model."""
    model: str
    revision: str


class SafetyBackend(Section):
    """What finds pictures that nobody should see."""

    kind: Literal["open_nsfw", "none"]
    """`open_nsfw`: Yahoo's classifier of pornographic pictures, which a package ships. `none`: nobody looks."""
    threshold: Share
    """Score above which a picture counts as unsafe; its authors call what is above 0.8 unsafe, and below 0.2 safe."""


class Drawing(Section):
    """How pictures are drawn; an adapter brings its own steps and guidance."""

    base: str
    """Diffusers folder or hub id of the base model."""
    revision: str
    """Commit of a hub id; empty for a folder."""
    steps: Annotated[int, Field(ge=1)]
    """Denoising steps of the base."""
    guidance: Annotated[float, Field(ge=0)]
    """Classifier-free guidance of the base; 1 is none."""
    device: str
    dtype: str
    batch_size: Annotated[int, Field(ge=1)]
    """Pictures per forward pass."""


class WantedKpi(Section):
    """The KPI that is asked for with each bucket, integer 0–100."""

    low: Kpi
    medium: Kpi
    high: Kpi


class Verbalizing(Section):
    """The verbalizer of the `verbalize` stage, for generated pictures: the same values, by YAML anchors."""

    detector: DetectorSettings
    captioner: CaptionerSettings
    min_coverage: Share
    batch_size: Count
