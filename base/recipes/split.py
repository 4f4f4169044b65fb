"""Which scenes the small diffusion pipeline is trained on, and which are kept for its scores."""

import hashlib

import numpy as np

from boig.simulator.render import Scene
from boig.simulator.scenes import sample_scene


def held_out(scene: Scene) -> bool:
    """Whether a scene shows a combination that training never sees."""
    keys = (f"{p.kind}|{scene.color}|{p.color}" for p in scene.products)
    return any(hashlib.sha256(key.encode()).digest()[0] % 10 == 0 for key in keys)


def sample_training_scene(rng: np.random.Generator) -> Scene:
    """A random scene without held-out combinations."""
    while held_out(scene := sample_scene(rng)):
        pass
    return scene
