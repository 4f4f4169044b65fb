"""`params.yaml: evaluate`."""

from typing import Annotated

from pydantic import Field

from boig.evaluation.settings import Drawing, FeatureBackend, MethodName, SafetyBackend, TextBackend, Verbalizing, WantedKpi
from boig.section import Count, Resources, Section, Seed


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
    safety: SafetyBackend
    describe_batch: Count
    """Descriptions that BoigLLM writes together."""
    score_batch: Count
    """Pictures that are looked at together."""
    resources: Resources
