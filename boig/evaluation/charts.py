"""Charts of the report, as SVG with equal bytes for equal numbers."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, GRID, BLUE, GRAY = "#22303c", "#e3e7ea", "#2b6cb0", "#8a98a5"
COLORS = ("#2b6cb0", "#d9730d", "#2f855a", "#b83280", "#6b46c1", "#718096")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "boig", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.edgecolor": GRAY, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
Points = Sequence[tuple[float, float]]


def _svg(width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """What `draw` paints on a figure of that size in inches."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def intervals(rows: Sequence[tuple[str, Mapping]], *, label: str, zero: float | None = None, percent: bool = False) -> str:
    """One dot with its 95 % interval per row, first row on top.

    Args:
        rows: (name, estimate).
        label: of the axis, with its unit.
        zero: where a reference line stands; None for none.
        percent: whether numbers are shares to be shown in percent.
    """

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        scale = 100.0 if percent else 1.0
        for y, (_, value) in enumerate(rows):
            low, mean, high = (scale * value[k] for k in ("lo", "mean", "hi"))
            ax.plot((low, high), (y, y), color=BLUE, linewidth=2.4, solid_capstyle="round")
            ax.plot(mean, y, "o", color=BLUE, markersize=6.5, markeredgecolor="white")
        if zero is not None:
            ax.axvline(scale * zero, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        ax.set_yticks(range(len(rows)), [name for name, _ in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(label)

    return _svg(5.0, 0.9 + 0.32 * len(rows), draw)


def against_compute(panels: Sequence[tuple[str, Mapping[str, Points]]], *, label: str) -> str:
    """Small panels side by side, each with a line per method over the same axis of compute.

    Args:
        panels: (title, method → (compute, value) points).
        label: of the axis of compute, with its unit.
    """
    names = list(dict.fromkeys(name for _, lines in panels for name in lines))
    color = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (title, lines) in zip(axes, panels, strict=True):
            for name, points in lines.items():
                ax.plot(*zip(*points, strict=True), "o-", color=color[name], markersize=3.5, linewidth=1.6, label=name)
            ax.set_title(title, fontsize=10, loc="left")
            ax.set_xlabel(label)
            _thin(ax)
        handles = {text: line for ax in axes for line, text in zip(*ax.get_legend_handles_labels(), strict=True)}
        if handles:
            figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=max(1, min(6, len(handles))), frameon=False)

    return _svg(2.75 * len(panels), 2.9, draw)


def steering(lines: Mapping[str, Sequence[Mapping]], *, label: str, percent: bool) -> str:
    """What wanting low, medium or high changes: a line with intervals per method.

    Args:
        lines: method → the estimates of the three buckets.
        label: of the vertical axis, with its unit.
        percent: the estimates are shares of the base, shown in percent with a line at none.
    """
    scale = 100 if percent else 1

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for i, (name, values) in enumerate(lines.items()):
            at = [x + 0.06 * (i - (len(lines) - 1) / 2) for x in range(len(values))]
            means = [scale * v["mean"] for v in values]
            errors = [[scale * (v["mean"] - v["lo"]) for v in values], [scale * (v["hi"] - v["mean"]) for v in values]]
            ax.errorbar(at, means, errors, fmt="o-", color=COLORS[i % len(COLORS)], capsize=3, linewidth=1.6, label=name)
        ax.set_xticks(range(3), ["low", "medium", "high"])
        ax.set_xlabel("wanted bucket")
        ax.set_ylabel(label)
        if percent:
            ax.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        figure.legend(loc="outside lower center", ncols=2, frameon=False)

    return _svg(5.6, 3.6, draw)


def over_time(lines: Mapping[str, Sequence[tuple[float, Mapping]]], marks: Sequence[tuple[float, str]], *, x: str, y: str) -> str:
    """A line per name with its 95 % band, and named moments.

    Args:
        lines: name to (moment, estimate), in order.
        marks: (moment, what happened then).
        x, y: labels of the axes, with their units.
    """

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        for color, (name, points) in zip(COLORS, lines.items(), strict=False):
            at = [moment for moment, _ in points]
            ax.fill_between(at, [e["lo"] for _, e in points], [e["hi"] for _, e in points], color=color, alpha=0.15, linewidth=0)
            ax.plot(at, [e["mean"] for _, e in points], "o-", color=color, linewidth=2, markersize=4.5, label=name)
        for moment, what in marks:
            ax.axvline(moment, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.text(moment, 1.02, what, transform=ax.get_xaxis_transform(), ha="center", fontsize=9)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.legend(frameon=False)

    return _svg(7.0, 3.6, draw)


def _thin(ax: Axes) -> None:
    """Few ticks, in thousands where numbers are large."""
    ax.locator_params(axis="x", nbins=4)
    ax.locator_params(axis="y", nbins=5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}")
