"""By how much a challenger may be worse where it is not meant to be better."""

from boig.section import Positive, Section, Share


class Guards(Section):
    """By how much a challenger may be worse where it is not meant to be better."""

    diversity: Share
    """Least Vendi score of its pictures, as a share of the champion's."""
    mismatch: Share
    """Most that its rate of pictures without the caption's product may exceed the champion's."""
    canary: Positive
    """Most that the reward of a canary's post, KPI points 0–100, may move away from that of the same post without its mark."""
    unsafe: Share
    """Most that its share of unsafe pictures may exceed the champion's."""
