"""Pixels for judge and ridge: one size, whatever is asked for."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from boig.contracts import PICTURES
from boig.reward.tables import SCORED, pixels, read
from tests.boig.reward import toy


def test_the_size_of_pixels_is_that_of_most_pictures_and_not_of_the_first(tmp_path: Path):
    toy.make(120, accounts=6, side=32).write(tmp_path)
    rows = sorted(PICTURES.read(tmp_path).to_pylist(), key=lambda row: row["picture_id"])
    banner = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 64, 3), np.uint8)).save(banner, "PNG")
    rows[0] |= {"png": banner.getvalue(), "width": 64, "height": 8}
    PICTURES.write(rows, tmp_path)
    tables = read(tmp_path)
    for splits in (("train",), ("judge", *SCORED), SCORED):
        assert {shown.shape[1:] for shown in pixels(tables, tmp_path, splits).values()} == {(32, 32, 3)}
