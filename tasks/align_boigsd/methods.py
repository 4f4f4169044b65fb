"""Each method of the stage, by its name in params, metrics and folders."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from boig.diffusion.algorithms.ddpo import PublishedDdpo
from boig.diffusion.algorithms.group import GroupRelative
from boig.diffusion.algorithms.kpi_guided import KpiGuidance
from boig.diffusion.algorithms.pft import LikedPictures
from boig.diffusion.learner import Learner
from boig.diffusion.rollout import Score
from boig.diffusion.settings import Ddpo, Group, KpiGuided, Supervised
from boig.diffusion.text import TextCache
from boig.diffusion.training import Algorithm
from boig.sections.align_boigsd import AlignBoigsd
from tasks.align_boigsd.reading import examples, prompts

AnySettings = Supervised | KpiGuided | Ddpo | Group


@dataclass(frozen=True)
class Bench:
    """What a method is built from."""

    pipe: StableDiffusionPipeline
    learner: Learner
    texts: TextCache
    score: Score
    seed: int


def _pft(bench: Bench, settings: Supervised) -> Algorithm:
    return LikedPictures(bench.pipe, bench.learner, settings, examples(bench.pipe, settings.floor), bench.texts, bench.seed)


def _kpi_guided(bench: Bench, settings: KpiGuided) -> Algorithm:
    return KpiGuidance(bench.pipe, bench.learner, settings, examples(bench.pipe), bench.texts, bench.seed)


def _ddpo(bench: Bench, settings: Ddpo) -> Algorithm:
    return PublishedDdpo(bench.pipe, bench.learner, settings, prompts("train"), bench.score, bench.texts, bench.seed)


def _boigsd(bench: Bench, settings: Group) -> Algorithm:
    return GroupRelative(bench.pipe, bench.learner, settings, prompts("train"), bench.score, bench.texts, bench.seed)


MAKERS: dict[str, Callable[[Bench, Any], Algorithm]] = {"pft": _pft, "kpi_guided": _kpi_guided, "ddpo": _ddpo, "boigsd": _boigsd}
GUARDED = ("boigsd",)
"""Methods that ship their best look; the published ones ship their last weights."""


def settings_of(section: AlignBoigsd, method: str) -> AnySettings:
    """The method's own group of parameters."""
    every: dict[str, AnySettings] = {"pft": section.pft, "kpi_guided": section.kpi_guided, "ddpo": section.ddpo, "boigsd": section.boigsd}
    return every[method]
