"""`params.yaml: verbalize`."""

from typing import Annotated

from pydantic import Field

from boig.section import Count, Resources, Section, Seed, Share
from boig.verbalizer.settings import CaptionerSettings, DetectorSettings


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
