"""Tiny bases on disk."""

from pathlib import Path

import pytest

from tests.boig.diffusion.tiny import EPSILON, tiny_pipeline


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """Folder of a tiny base with v-prediction and zero terminal SNR, like the default one."""
    folder = tmp_path_factory.mktemp("base")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def epsilon_base(tmp_path_factory) -> Path:
    """Folder of a tiny base scheduled like Stable Diffusion 1.5."""
    folder = tmp_path_factory.mktemp("epsilon_base")
    tiny_pipeline(**EPSILON).save_pretrained(folder)
    return folder
