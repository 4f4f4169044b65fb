"""The reference classifier's answers."""

import numpy as np
import pytest
import torch

from boig.simulator.reference import Reference
from boig.verbalizer.grid_detector import GridConfig, GridNet, save


def tiny(folder, families):
    torch.manual_seed(5)
    net = GridNet(GridConfig(("cup", "text"), width=8, blocks=1, families=families))
    torch.nn.init.normal_(net.head.bias, std=2.0)
    return save(net, folder)


def test_facts_and_features_of_a_picture_do_not_depend_on_its_batch(tmp_path):
    reference = Reference.load(tiny(tmp_path / "tiny", ("red", "blue")), batch_size=4)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    facts, features = reference.facts(pictures), reference.features(pictures)
    assert facts == [reference.facts(pictures[i : i + 1])[0] for i in range(5)]
    assert (features == np.concatenate([reference.features(pictures[i : i + 1]) for i in range(5)])).all()
    assert features.shape == (5, 80)
    for fact in facts:
        assert fact.background_family in ("red", "blue")
        assert isinstance(fact.has_text, bool)
        assert all(kind == "cup" for kind, _, _ in fact.products)
    assert reference.facts(pictures[:0]) == []
    assert reference.features(pictures[:0]).shape == (0, 80)


def test_a_detector_is_no_reference_and_a_missing_one_is_named(tmp_path):
    with pytest.raises(ValueError, match="no background head"):
        Reference.load(tiny(tmp_path / "plain", ()))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Reference.load(tmp_path / "nowhere")
