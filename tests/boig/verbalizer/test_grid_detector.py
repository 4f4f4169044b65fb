"""The small network: decoding, saving, and that a picture's boxes depend on nothing but the picture."""

import json

import numpy as np
import pytest
import torch

from boig.verbalizer.grid_detector import GridConfig, GridDetector, GridNet, decode, load, save, to_input

CONFIG = GridConfig(("cup", "shoe", "text"), width=8, blocks=1, families=("red", "blue"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(3)
    net = GridNet(CONFIG)
    torch.nn.init.normal_(net.head.bias, std=1.0)
    with torch.no_grad():
        net(torch.rand(8, 3, 64, 64) * 255)  # gives the batch norms something to fold in
    return save(net, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)


def test_a_cell_and_its_sides_become_a_box():
    classes = np.full((2, 2, 8, 8), -9.0, np.float32)
    classes[1, 1, 2, 4] = 2.0
    sides = np.zeros((2, 4, 8, 8), np.float32)
    sides[1, :, 2, 4] = (1.5, 0.5, 1.5, 2.5)
    none, one = decode(classes, sides, ("cup", "shoe"), threshold=0.5)
    assert none == ()
    assert one[0].label == "shoe"
    assert one[0].box == (3 / 8, 2 / 8, 6 / 8, 5 / 8)
    assert abs(one[0].score - 1 / (1 + np.exp(-2))) < 1e-9


def test_boxes_stay_inside_the_picture():
    classes, sides = np.full((1, 1, 8, 8), 3.0, np.float32), np.full((1, 4, 8, 8), 20.0, np.float32)
    assert [o.box for o in decode(classes, sides, ("cup",), 0.5)[0]] == [(0.0, 0.0, 1.0, 1.0)]


def test_folding_the_batch_norms_changes_nothing_that_matters(folder, pictures):
    net = GridNet(CONFIG)
    from safetensors.torch import load_file

    net.load_state_dict(load_file(folder / "model.safetensors"))
    plain, folded = net.eval()(to_input(pictures)), load(folder)[0](to_input(pictures))
    assert torch.allclose(plain.classes, folded.classes, atol=1e-4)
    assert torch.allclose(plain.sides, folded.sides, atol=1e-4)
    assert plain.families.shape == (7, 2)
    assert plain.text.shape == (7,)
    assert plain.features.shape == (7, 80)


def test_boxes_do_not_depend_on_the_batch(folder, pictures):
    detector = GridDetector.load(folder, threshold=0.2, batch_size=4)
    together = detector.detect(pictures)
    assert together == [detector.detect(pictures[i : i + 1])[0] for i in range(7)]
    assert any(together)


def test_pictures_of_other_sizes_are_resized(folder, pictures):
    detector = GridDetector.load(folder, threshold=0.2)
    assert len(detector.detect(np.repeat(np.repeat(pictures, 3, 1), 2, 2))) == 7
    assert detector.detect(pictures[:0]) == []


def test_equal_weights_give_equal_bytes_and_the_id_follows_the_weights(folder, tmp_path):
    _net, identity = load(folder)
    again = GridNet(CONFIG)
    from safetensors.torch import load_file

    again.load_state_dict(load_file(folder / "model.safetensors"))
    save(again, tmp_path / "tiny")
    assert (tmp_path / "tiny" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert load(tmp_path / "tiny")[1] == identity
    with torch.no_grad():
        again.head.bias += 1
    save(again, tmp_path / "tiny")
    assert load(tmp_path / "tiny")[1] != identity


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load(tmp_path)


def test_other_arrays_are_refused(folder):
    with pytest.raises(ValueError, match="uint8"):
        GridDetector.load(folder, 0.5).detect(np.zeros((1, 64, 64, 3), np.float32))
