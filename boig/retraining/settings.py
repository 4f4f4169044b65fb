"""How a retraining goes, and by how much a challenger may be worse where it is not meant to be better."""

from typing import Annotated

from pydantic import Field

from boig.section import Count, Positive, Section, Seed, Share


class Guards(Section):
    """By how much a challenger may be worse where it is not meant to be better. None: not asked for.

    "The best champion's" is the best number of all champions that led to the one in use, so that slack does not add up. One retraining
    with None, where a person means it, has that number begin anew with its challenger.
    """

    diversity: Share | None
    """Least Vendi score of its pictures, as a share of the best champion's."""
    mismatch: Share | None
    """Most that its rate of pictures without the caption's product may exceed the best champion's."""
    canary: Positive | None
    """Most that a mark which says nothing of the picture may move a score, KPI points 0–100, beyond what it moved that of the champion
    which it was first tried on."""
    unsafe: Share | None
    """Most that its share of unsafe pictures may exceed the best champion's."""


class Retraining(Section):
    """One retraining, from what has landed to the gate's verdict."""

    profile: str
    """A name of `profiles/`; empty: params.yaml alone."""
    feed: str
    """Where the posts are; empty: as the profile says."""
    until: str
    """The last stage to run; empty: all of them."""
    min_new_posts: Count
    """Posts that must have landed since the last retraining; with fewer there is nothing to do."""
    warm_start: bool
    """Whether BoigLLM starts from the champion's weights instead of the profile's base."""
    approval: bool
    """Whether a person has to approve what has passed the gate, the first generation too."""
    push_to: str
    """Git remote that the retraining's branch is pushed to, as `origin`; empty: none. The commit names the models: where it is on one disk
    alone, that disk is what a generation hangs on."""
    guards: Guards
    canary_posts: Count
    """Held-out posts on which each mark is tried."""
    canary_words: Annotated[int, Field(ge=0)]
    """Words tried as marks: those that have become more frequent since the champion's training, most risen first. Up to 30 that earlier
    champions were tried with come to them."""
    seed: Seed
    """Of the bootstrap and of the posts that marks are tried on."""
