"""ImageNet labels with activation boxes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from boig.verbalizer.activation_detector import ActivationDetector, imagenet_names, region_box
from boig.verbalizer.mobilenet import MobileNetV2

EOIG = Path("../shared/data/eoig")
MAPS = arrays(np.float32, (9, 9), elements=st.floats(-4, 4, width=32))


@pytest.fixture(scope="module")
def packaged():
    return ActivationDetector.load(None, threshold=0.2)


@given(MAPS)
def test_a_region_lies_inside_the_picture_and_has_an_area(activation):
    x0, y0, x1, y1 = region_box(activation)
    assert 0 <= x0 < x1 <= 1
    assert 0 <= y0 < y1 <= 1


def test_the_region_of_a_known_map():
    activation = np.zeros((10, 10), np.float32)
    activation[2:5, 6:9] = 1.0
    activation[8, 1] = 2.0  # the peak, but a smaller region
    assert region_box(activation) == (0.6, 0.2, 0.9, 0.5)
    assert region_box(activation[:, ::-1]) == pytest.approx((0.1, 0.2, 0.4, 0.5))


def test_class_names_are_known_where_they_are_easy_to_check():
    names = imagenet_names()
    assert len(names) == 1000
    assert (names[1], names[508], names[999]) == ("goldfish", "computer keyboard", "toilet paper")
    assert not [n for n in names if not n or '"' in n or "(" in n]


def test_the_network_has_the_papers_size():
    assert round(sum(p.numel() for p in MobileNetV2().parameters()) / 1e6, 1) == 3.5  # 3.4 million in table 4, 3.5 with all 1,000 biases


def test_other_weights_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="MobileNetV2"):
        ActivationDetector.load(tmp_path / "other.pth", 0.2)
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth"):
        ActivationDetector.load(tmp_path / "nothing.pth", 0.2)


def test_boxes_are_confident_ones_with_known_labels(packaged):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 80, 60, 3), dtype=np.uint8)
    for objects in packaged.detect(pictures):
        assert all(o.label in packaged.labels and o.score >= 0.2 for o in objects)
    assert packaged.features(pictures).shape == (3, 1280)


@pytest.mark.skipif(not EOIG.is_dir(), reason="the brand pictures of ../shared/data/eoig are not here")
def test_brand_pictures_show_what_the_brand_sells(packaged):
    wanted = {
        "ASUSUSA_1117925570497667072_1": "electric guitar",
        "PUMAGolf_1118998828567252992_5": "sneaker",
        "nokia_1552653352659406848_3": "mobile phone",
    }
    for name, label in wanted.items():  # each was drawn by two generators; one of them shows the product plainly
        pictures = [np.asarray(Image.open(path).convert("RGB"))[None] for path in sorted((EOIG / "images").glob(f"*/{name}.jpg"))]
        found = [o.box for picture in pictures for o in packaged.detect(picture)[0] if o.label == label]
        assert found
        assert all(0.05 < (x1 - x0) * (y1 - y0) < 0.9 for x0, y0, x1, y1 in found)
