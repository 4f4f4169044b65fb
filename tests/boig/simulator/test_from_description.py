"""A description becomes the scene it describes, whatever a language model writes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from boig.simulator.captions import picture_description
from boig.simulator.catalog import KINDS
from boig.simulator.from_description import scene_of
from boig.simulator.render import Product, Scene, render
from boig.simulator.scenes import sample_scene
from boig.verbalizer.form import ColorShare, ObjectBox, Verbalization
from boig.verbalizer.palette import NAMES, shares

unit = st.floats(-0.5, 1.5, allow_nan=False)
objects = st.builds(ObjectBox, st.sampled_from([*KINDS, "dragon"]), st.tuples(unit, unit, unit, unit))
colors = st.lists(st.builds(ColorShare, st.sampled_from(NAMES), st.floats(0, 1)), max_size=5)


def described(scene: Scene) -> Verbalization:
    """What a perfect verbalizer says of the scene."""
    covered = shares(render(scene)[None])[0][0]
    top = sorted(zip(covered, NAMES, strict=True), reverse=True)[:5]
    boxes = tuple(ObjectBox(p.kind, p.box) for p in scene.products)
    return Verbalization(tuple(ColorShare(n, round(float(c), 2)) for c, n in top), (0.0, 1.0, 0.0), boxes, picture_description(scene))


def test_known_description():
    boxes = (ObjectBox("shoe", (0.1, 0.3, 0.5, 0.7)), ObjectBox("dragon", (0.5, 0.5, 0.9, 0.9)))
    text = "a red shoe on a dark blue striped background, with text"
    scene = scene_of(Verbalization((ColorShare("White", 0.5), ColorShare("Dark_Blue", 0.4)), (0.0, 0.0, 1.0), boxes, text))
    assert scene == Scene("stripes", "Dark_Blue", "White", (Product("shoe", 0, "Red", (0.1, 0.3, 0.5, 0.7)),), "NEW", "top")


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_describe_and_draw_keeps_what_was_drawn(seed):
    scene = sample_scene(np.random.default_rng(seed))
    again = scene_of(described(scene))
    assert (again.background, again.color, bool(again.slogan)) == (scene.background, scene.color, bool(scene.slogan))
    assert [(p.kind, p.box) for p in again.products] == [(p.kind, p.box) for p in scene.products]


@given(colors, st.lists(objects, max_size=4), st.text(max_size=40))
@settings(max_examples=50)
def test_anything_can_be_drawn(shares_, boxes, caption):
    picture = render(scene_of(Verbalization(tuple(shares_), (1.0, 0.0, 0.0), tuple(boxes), caption)))
    assert picture.shape == (64, 64, 3)
