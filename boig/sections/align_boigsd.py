"""`params.yaml: align_boigsd`."""

from typing import Annotated, Literal

from pydantic import Field

from boig.diffusion.settings import Base, Ddpo, Group, KpiGuided, Panel, Rewarding, Supervised
from boig.evaluation.settings import Verbalizing
from boig.section import Resources, Section, Seed


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
