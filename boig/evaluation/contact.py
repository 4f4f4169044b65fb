"""Contact sheets: labeled picture grids as one PNG, for README and MLflow."""

import io
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boig.evaluation.report import GridBlock

_GAP, _LABEL, _HEAD = 6, 190, 44  # px
_INK, _SOFT = (34, 48, 60), (91, 107, 121)


def sheet(grid: GridBlock, side: int = 96) -> np.ndarray:
    """The grid with its labels as a picture.

    Args:
        grid: rows of PNG pictures.
        side: px of each picture; small pictures are enlarged without smoothing.

    Returns:
        uint8 (H, W, 3), the same bytes for the same grid.
    """
    columns = len(grid.head) - 1
    size = (_LABEL + columns * (side + _GAP) + _GAP, _HEAD + len(grid.rows) * (side + _GAP) + _GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    small, tiny = ImageFont.load_default(size=12), ImageFont.load_default(size=11)
    for j, title in enumerate(grid.head[1:]):
        lines = "\n".join(textwrap.wrap(title.replace("’", "'"), 15)[:3])
        middle = (_LABEL + j * (side + _GAP) + side / 2, _HEAD - 4)
        draw.multiline_text(middle, lines, fill=_INK, font=tiny, anchor="md", align="center", spacing=1)
    for i, (label, pictures) in enumerate(grid.rows):
        top = _HEAD + i * (side + _GAP)
        text = "\n".join(textwrap.wrap(label, 28)[:5])
        draw.multiline_text((8, top + side / 2), text, fill=_SOFT, font=small, anchor="lm", spacing=3)
        for j, png in enumerate(pictures):
            if png:
                canvas.paste(_fitted(png, side), (_LABEL + j * (side + _GAP), top))
    return np.asarray(canvas)


def _fitted(png: bytes, side: int) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    resample = Image.Resampling.NEAREST if max(picture.size) <= side else Image.Resampling.LANCZOS
    return picture.resize((side, side), resample)
