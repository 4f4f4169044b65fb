from dataclasses import dataclass
from pathlib import Path

import pytest

from boig.language.model import load
from boig.reporting import Reporter, Silent
from boig.reward import engagement
from boig.reward.calibration import Calibration
from boig.reward.engagement import Engagement
from boig.reward.scorer import Line, Reward
from boig.reward.settings import Fit
from boig.reward.tables import Tables, read
from tests.boig.reward import small

_QUIET = Silent()


@dataclass(frozen=True)
class World:
    """A toy workspace and what was read from it."""

    root: Path
    tables: Tables

    @property
    def boigllm(self) -> Path:
        return self.root / small.BOIGLLM

    def train(self, folder: Path, report: Reporter = _QUIET, **fit: object) -> Engagement:
        """An engagement reward on this world's posts."""
        section = small.section(**fit)
        model, tokenizer = load(self.boigllm)
        groups = {
            "features": section.features,
            "head": section.head,
            "trees": section.trees,
            "fit": Fit.model_validate(section.fit.model_dump()),
        }
        posts, val = self.tables.training(), self.tables.splits["val"]
        return engagement.train(posts, val, model.base_model, tokenizer, **groups, folder=folder, seed=1, report=report, name="reward")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    small.workspace(root)
    return World(root, read(root))


@pytest.fixture(scope="session")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Engagement:
    return world.train(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def saved(world: World, trained: Engagement, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model, _ = load(world.boigllm)
    Reward(model, trained, Line(50.0, 30.0, 29.0), Calibration({"known": 1.6, "unknown": 1.8}, 1.0), {"engagement": 1.0}).save(
        folder, str(world.boigllm), "float32"
    )
    return folder
