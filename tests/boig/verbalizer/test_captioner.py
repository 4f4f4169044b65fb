"""The template captioner writes the form that the base model was trained on."""

import numpy as np
import pytest

from boig.simulator.captions import picture_description
from boig.simulator.catalog import BACKGROUND_COLORS, BACKGROUNDS, KINDS
from boig.simulator.render import Product, Scene, render, slogan_box
from boig.simulator.scenes import sample_scene
from boig.verbalizer.captioner import TEXT, TemplateCaptioner, sentence
from boig.verbalizer.form import ObjectBox
from boig.verbalizer.ground import Ground, background, body_color, cover, outside
from boig.verbalizer.palette import name_indices


def seen(scene: Scene) -> tuple[ObjectBox, ...]:
    line = slogan_box(scene)
    return tuple(ObjectBox(p.kind, p.box) for p in scene.products) + ((ObjectBox(TEXT, line),) if line else ())


def scenes(count: int) -> list[Scene]:
    rng = np.random.default_rng(41)
    return [sample_scene(rng) for _ in range(count)]


def captions(drawn: list[Scene]) -> list[str]:
    return TemplateCaptioner().caption(np.stack([render(s) for s in drawn]), [seen(s) for s in drawn], [()] * len(drawn))


def test_captions_are_mostly_the_very_description_of_the_scene():
    drawn = scenes(200)
    same = [caption == picture_description(scene) for scene, caption in zip(drawn, captions(drawn), strict=True)]
    assert np.mean(same) > 0.85  # 0.91 of 1,500 other scenes; what differs is the color of a product


@pytest.mark.parametrize("pattern", BACKGROUNDS)
def test_background_color_and_pattern_are_found(pattern):
    right = []
    for i, color in enumerate(BACKGROUND_COLORS):
        second = color if pattern == "plain" else BACKGROUND_COLORS[(i + 3) % len(BACKGROUND_COLORS)]
        box = (0.25, 0.25, 0.75, 0.75)
        picture = render(Scene(pattern, color, second, (Product(KINDS[i % 12], 0, "Red" if color != "Red" else "White", box),)))
        mask = outside(64, 64, [box])
        ground = background(picture, cover(name_indices(picture[None])[0], mask), mask)
        right.append((ground.color, ground.pattern) == (color, pattern))
    assert np.mean(right) == 1.0


def test_a_photograph_like_background_gets_no_pattern():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    picture = np.repeat(np.repeat(coarse, 7, 0), 7, 1)
    mask = np.ones((63, 63), bool)
    assert background(picture, cover(name_indices(picture[None])[0], mask), mask).pattern == ""


def test_products_are_named_from_left_to_right_with_articles():
    words = sentence([("Orange", "cup"), ("Dark_Blue", "shoe"), ("", "lamp")], Ground("Off_White", ""), with_text=True)
    assert words == "an orange cup, a dark blue shoe and a lamp on an off white background, with text"
    right, left = Product("cup", 0, "Red", (0.6, 0.3, 0.95, 0.65)), Product("shoe", 0, "Blue", (0.05, 0.3, 0.4, 0.65))
    assert captions([Scene("plain", "White", "White", (right, left))]) == ["a blue shoe and a red cup on a white plain background"]


def test_without_objects_there_is_no_product():
    assert captions([Scene("dots", "Green", "White")]) == ["no product on a green dotted background"]


def test_objects_that_fill_the_picture_still_leave_a_border_to_look_at():
    mask = outside(64, 64, [(0.0, 0.0, 1.0, 1.0)])
    assert mask.sum() == 64 * 64 - 56 * 56
    picture = render(Scene("plain", "Pink", "Pink"))
    names = name_indices(picture[None])[0]
    assert body_color(names, (0.0, 0.0, 1.0, 1.0), cover(names, mask), mask) == ""
