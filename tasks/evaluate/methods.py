"""The methods that are compared: which adapter, which prompt, how many candidates. All draw from the same seeds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One row of the generation table."""

    name: str
    adapter: str
    """Folder under models/boigsd; empty for the base model."""
    prompt: str
    """`caption` (of the post), `described` (BoigLLM's picture for the wanted bucket) or `retrieved` (from a well-liked post)."""
    candidates: int
    """Pictures drawn per brief, of which the one with the highest reward is kept; 0 for real pictures."""


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method("base", "", "caption", 1),
        Method("boigllm_prompt", "", "described", 1),
        Method("retrieved_prompt", "", "retrieved", 1),
        Method("pft", "pft", "caption", 1),
        Method("kpi_guided", "kpi_guided", "caption", 1),
        Method("best_of_4", "", "caption", 4),
        Method("best_of_16", "", "caption", 16),
        Method("ddpo", "ddpo", "caption", 1),
        Method("boigsd", "boigsd", "caption", 1),
        Method("boigsd_best_of_4", "boigsd", "caption", 4),
        Method("real", "", "caption", 0),
    )
}
STEERED: tuple[str, ...] = ("boigllm_prompt", "kpi_guided")
"""Methods that can be asked for any bucket: by BoigLLM's answer to the wanted KPI, or by the KPI's words in the prompt."""
WANTED = "high"
"""The bucket of the table; the others show whether a method can be steered."""


def chosen(names: tuple[str, ...]) -> list[Method]:
    """The methods in the table's order.

    Raises:
        ValueError: an unknown name, or `base` missing, against which all others are measured.
    """
    unknown = sorted(set(names) - set(METHODS))
    if unknown:
        raise ValueError(f"evaluate.methods: unknown {', '.join(unknown)}; choose from {', '.join(METHODS)}")
    if "base" not in names:
        raise ValueError("evaluate.methods: base is missing; add it, all others are measured against it")
    return [m for m in METHODS.values() if m.name in names]
