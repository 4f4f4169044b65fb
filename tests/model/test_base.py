"""The shipped small models keep what their cards say, on pictures that no recipe has seen."""

import json
from pathlib import Path

import numpy as np
import pytest

from base.recipes.grid_data import truth_of
from boig.simulator.reference import Reference
from boig.simulator.render import render
from boig.simulator.scenes import sample_scene
from boig.verbalizer.captioner import TEXT
from boig.verbalizer.grid_detector import GridDetector
from boig.verbalizer.matching import match

DETECTOR, REFERENCE = Path("base/detector"), Path("base/reference")


@pytest.fixture(scope="module")
def unseen():
    rng = np.random.default_rng(987_654)
    scenes = [sample_scene(rng) for _ in range(500)]
    return np.stack([render(scene) for scene in scenes]), [truth_of(scene) for scene in scenes]


def agreement(truths, found):
    matches = [match(tuple(o for o in t.objects if o.label != TEXT), objects) for t, objects in zip(truths, found, strict=True)]
    return (
        np.mean([r for m in matches for r in m.right]),
        np.mean([v for m in matches for v in m.ious]),
        np.mean([m.spurious for m in matches]),
    )


def test_the_detector_finds_products_and_text(unseen):
    pictures, truths = unseen
    found = GridDetector.load(DETECTOR, 0.5).detect(pictures)
    labels, overlap, spurious = agreement(truths, [tuple(o for o in objects if o.label != TEXT) for objects in found])
    assert labels >= 0.95
    assert overlap >= 0.7
    assert spurious <= 0.05
    text = [any(o.label == TEXT for o in objects) == truth.text for objects, truth in zip(found, truths, strict=True)]
    assert np.mean(text) >= 0.95


def test_the_reference_sees_products_background_and_text(unseen):
    pictures, truths = unseen
    facts = Reference.load(REFERENCE).facts(pictures)
    right = [
        sorted(kind for kind, _, _ in f.products) == sorted(o.label for o in t.objects if o.label != TEXT)
        for f, t in zip(facts, truths, strict=True)
    ]
    assert np.mean(right) >= 0.97
    assert np.mean([f.background_family == t.family for f, t in zip(facts, truths, strict=True)]) >= 0.99
    assert np.mean([f.has_text == t.text for f, t in zip(facts, truths, strict=True)]) >= 0.98


@pytest.mark.parametrize("folder", [DETECTOR, REFERENCE])
def test_cards_state_recipe_seed_time_scores_and_license(folder):
    card = json.loads((folder / "card.json").read_text())
    assert {"command", "data", "settings", "train_seconds", "scores", "license"} <= set(card)
    assert card["license"] == "Apache-2.0"
    assert card["settings"]["seed"] > 0
    assert card["train_seconds"] > 0
    assert card["scores"]["label_accuracy"]["lo"] >= 0.95
    assert card["scores"]["mean_iou"]["lo"] >= 0.7
    readme = (folder / "README.md").read_text()
    assert all(f"{score['mean']:.4f}" in readme for score in card["scores"].values())


def test_the_two_judges_of_products_share_no_weights_and_are_small():
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (DETECTOR, REFERENCE)]
    assert sum(sizes) < 3e6
    assert (DETECTOR / "model.safetensors").read_bytes() != (REFERENCE / "model.safetensors").read_bytes()
