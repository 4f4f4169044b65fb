"""Align the diffusion model to the reward: one adapter per method asked for.

`reading` gathers what a method needs, `judging` scores pictures and draws the panel, `methods` builds each method, `running` runs one on
one rank and moves finished adapters into the stage's output.
"""

from tasks.align_boigsd.judging import RewardWorker
from tasks.align_boigsd.reading import inputs
from tasks.align_boigsd.running import align, check, place

__all__ = ["RewardWorker", "align", "check", "inputs", "place"]
