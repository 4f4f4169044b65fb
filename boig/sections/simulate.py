"""`params.yaml: simulate`."""

from typing import Annotated

from pydantic import Field

from boig.feed.rules import KpiRule, SplitRule
from boig.section import Count, Resources, Section, Seed


class Drift(Section):
    """A change of what the audience likes."""

    month: Annotated[float, Field(gt=0)]
    """When, in months of 30.4 days from the feed's start."""
    law_seed: Seed
    """Draws the weights that hold from then on; the accounts stay."""


class Simulate(Section):
    """The embedded feed, whose law of likes is known."""

    seed: Seed
    """Draws the posts, their pictures, noise and dirt."""
    law_seed: Seed
    """Draws the accounts and the weights of the law; another seed is another law."""
    drift: Drift | None
    """None: the law stays as it is."""
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
