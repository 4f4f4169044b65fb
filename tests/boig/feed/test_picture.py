"""Decoding under limits, and near-duplicates."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from boig.feed.duplicates import alike, components, joined
from boig.feed.picture import Unusable, decode
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene
from tests.boig.feed.rules import DUPLICATES, LIMITS


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(seed: int) -> Image.Image:
    return Image.fromarray(render(sample_scene(np.random.default_rng(seed), kinds=("cup",))))


def stored(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_formats(kind: str) -> None:
    picture = decode(encoded(scene(1).resize((200, 100)), kind), LIMITS)
    assert (picture.width, picture.height) == (64, 32)
    assert stored(picture.png).shape == (32, 64, 3)


def test_a_small_picture_is_stored_pixel_by_pixel() -> None:
    original = scene(2)
    assert np.array_equal(stored(decode(encoded(original), LIMITS).png), np.asarray(original))


def test_transparent_parts_become_white_and_turned_pictures_upright() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert (stored(decode(encoded(clear), LIMITS).png) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    turned = decode(encoded(scene(3).resize((60, 30)), "JPEG", exif=exif), LIMITS)
    assert (turned.width, turned.height) == (30, 60)


def test_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert stored(decode(data, LIMITS).png)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable_picture"),
        (b"<html>", "unreadable_picture"),
        (encoded(Image.new("RGB", (40, 40)), "GIF"), "unreadable_picture"),
        (encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), dtype=np.uint8)))[:900], "unreadable_picture"),
        (encoded(Image.new("RGB", (2000, 2000))), "picture_too_large"),
        (bytes(200_001), "picture_too_large"),
        (encoded(Image.new("RGB", (1, 1))), "picture_too_small"),
        (encoded(Image.new("RGB", (500, 15))), "picture_too_small"),
    ],
)
def test_pictures_that_cannot_be_used(data: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        decode(data, LIMITS)
    assert caught.value.reason == reason
    assert len(caught.value.detail) <= 200


@settings(max_examples=60)
@given(st.integers(0, 2000), st.binary(min_size=1, max_size=4))
def test_damage_never_raises_anything_else(place: int, noise: bytes) -> None:
    data = bytearray(encoded(scene(4)))
    place %= len(data)
    data[place : place + len(noise)] = noise
    with contextlib.suppress(Unusable):
        decode(bytes(data), LIMITS)


def test_copies_are_alike_and_other_pictures_are_not() -> None:
    original = scene(5)
    first = decode(encoded(original), LIMITS)
    copies = [
        encoded(original, "JPEG", quality=60),
        encoded(original.resize((128, 128), Image.Resampling.LANCZOS)),
        encoded(original.resize((48, 48), Image.Resampling.LANCZOS), "JPEG", quality=80),
        encoded(original.crop((1, 1, 64, 64))),
    ]
    assert all(alike(first, decode(data, LIMITS), DUPLICATES) for data in copies)
    others = [decode(encoded(scene(seed)), LIMITS) for seed in range(100, 160)]
    assert not any(alike(first, other, DUPLICATES) for other in others)


def test_flat_pictures_of_different_colors_are_not_alike() -> None:
    red, blue = (decode(encoded(Image.new("RGB", (64, 64), color)), LIMITS) for color in ("red", "blue"))
    assert red.phash == blue.phash
    assert not alike(red, blue, DUPLICATES)


def test_components_find_what_comparing_all_pairs_finds() -> None:
    pictures = [decode(encoded(scene(seed % 25), "JPEG", quality=50 + seed), LIMITS) for seed in range(50)]
    every = [(i, j) for i in range(50) for j in range(i) if alike(pictures[i], pictures[j], DUPLICATES)]
    expected, found = joined(50, np.array(every)), components(pictures, DUPLICATES)
    assert len(set(zip(expected.tolist(), found.tolist(), strict=True))) == len(set(expected.tolist())) == len(set(found.tolist()))
    assert all(found[i] == found[i + 25] for i in range(25))


def test_no_pictures_have_no_components() -> None:
    assert len(components([], DUPLICATES)) == 0
