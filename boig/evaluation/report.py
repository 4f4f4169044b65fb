"""The report: sections of tables, charts and picture grids, rendered into one HTML file that needs nothing else.

What goes into it is decided by the evaluate stage; this module only knows how it looks.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
SENTENCE = 24
"""Characters beyond which a cell is set as words, which wrap."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    small: str = ""
    """Second line in small print, such as an interval."""
    strong: bool = False


@dataclass(frozen=True)
class TableBlock:
    """A table with a heading per column; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def words(self) -> bool:
        """Whether it holds sentences rather than numbers."""
        return any(len(cell.text) > SENTENCE for row in self.rows for cell in row[1:])


@dataclass(frozen=True)
class ChartBlock:
    """An SVG chart."""

    svg: str
    alt: str
    note: str = ""

    @property
    def data(self) -> str:
        """For an `img`."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@dataclass(frozen=True)
class GridBlock:
    """Pictures in rows and columns: the same brief across, the same method down."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[bytes | None, ...]], ...]
    """(label, PNG bytes per column; None leaves a gap)."""
    note: str = ""

    def data(self, png: bytes) -> str:
        """For an `img`."""
        return "data:image/png;base64," + base64.b64encode(png).decode()


Block = TableBlock | ChartBlock | GridBlock


@dataclass(frozen=True)
class Part:
    """A section of the report."""

    title: str
    text: tuple[str, ...]
    """Paragraphs."""
    blocks: tuple[Block, ...] = ()
    bullets: tuple[str, ...] = ()

    def kind(self, block: Block) -> str:
        """Which way the template shows a block."""
        return {TableBlock: "table", ChartBlock: "chart", GridBlock: "grid"}[type(block)]


@dataclass(frozen=True)
class Report:
    """All that is on the page."""

    title: str
    subtitle: str
    badge: str
    """What kind of data this is, such as `simulated feed`."""
    facts: tuple[tuple[str, str], ...]
    """(number, what it is): shown large on top."""
    parts: tuple[Part, ...]


def environment(*, html: bool) -> Environment:
    """Jinja2 with undefined names as errors; HTML is escaped."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip


def render(report: Report) -> str:
    """The page: one file, no scripts, no links to resources."""
    return environment(html=True).get_template("report.html.j2").render(report=report)
