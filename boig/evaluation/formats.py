"""Numbers as people read them: one place for the report, the model card and the README."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

DASH = "–"
NO_BREAK = "\u00a0"
Value = Mapping | float | int | None
"""An estimate, a plain number, or nothing."""


def mean_of(value: Value) -> float | None:
    """The number itself, without its interval."""
    return value["mean"] if isinstance(value, Mapping) else value


def known(value: Value) -> float:
    """The number itself, where there must be one.

    Raises:
        ValueError: there is none.
    """
    number = mean_of(value)
    if number is None:
        raise ValueError("a number is missing from a metrics file; run the stage that writes it again")
    return number


def significant(number: float, digits: int = 3) -> str:
    """Plain notation with so many significant digits, thousands separated: 1,234, 0.0123, 12.3."""
    if number == 0:
        return "0"
    if not 1e-4 <= abs(number) < 1e15:
        return f"{number:.{digits - 1}e}"
    places = max(0, digits - 1 - _magnitude(number, digits))
    return f"{number:,.{places}f}".replace("-", "−")


def _magnitude(number: float, digits: int) -> int:
    return int(f"{abs(number):.{digits - 1}e}".partition("e")[2])


def decimals(places: int) -> Callable[[float], str]:
    """A formatter with a fixed number of decimals."""
    return lambda number: f"{number:,.{places}f}".replace("-", "−")


def percent(number: float) -> str:
    """A share as whole percent."""
    return f"{100 * number:.0f} %".replace("-", "−").replace("−0 %", "0 %")


def signed_percent(number: float) -> str:
    """A change as whole percent with its sign."""
    text = percent(number)
    return text if text.startswith(("−", "0")) else "+" + text


@dataclass(frozen=True)
class Format:
    """How one column is shown."""

    title: str
    show: Callable[[float], str]
    better: str = ""
    """`up` or `down`: which way is better; empty where neither."""

    @property
    def heading(self) -> str:
        """The title with its arrow."""
        return f"{self.title} {'↑' if self.better == 'up' else '↓'}" if self.better else self.title

    def text(self, value: Value) -> str:
        """The number alone."""
        number = mean_of(value)
        return DASH if number is None else self.show(number)

    def interval(self, value: Value) -> str:
        """`lo … hi`; empty where there is no interval."""
        if not isinstance(value, Mapping):
            return ""
        low, high = self.show(value["lo"]), self.show(value["hi"])
        return f"{low.removesuffix(' %')} … {high}"


COLUMNS: dict[str, Format] = {
    "true_uplift": Format("True uplift", signed_percent, "up"),
    "judge_win_rate": Format("Judge prefers it to base", percent, "up"),
    "rating": Format("Rating", decimals(0), "up"),
    "judge": Format("Judge", decimals(1), "up"),
    "reward": Format("Reward", significant, "up"),
    "prompt_agreement": Format("Prompt agreement", percent, "up"),
    "mismatch_rate": Format("Mismatch", percent, "down"),
    "unsafe_rate": Format("Unsafe", percent, "down"),
    "text_score": Format("Text score", decimals(2), "up"),
    "vendi": Format("Vendi", decimals(1), "up"),
    "fid": Format("FID", significant, "down"),
    "kid": Format("KID", significant, "down"),
    "mmd": Format("MMD ×1000", lambda number: decimals(1)(1000 * number), "down"),
    "unet_forwards": Format("U-Net forwards", decimals(0)),
    "reward_calls": Format("Reward calls", decimals(0)),
}
"""The generation table's columns, in its order."""
