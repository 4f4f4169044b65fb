import numpy as np

from boig.evaluation import safety
from boig.evaluation.settings import SafetyBackend


def pictures() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (20, 48, 64, 3), np.uint8)


def test_a_score_is_of_its_own_picture():
    classifier, shown = safety.OpenNsfw(0.8), pictures()
    together = classifier.scores(shown)
    assert together.shape == (20,)
    assert ((together >= 0) & (together <= 1)).all()
    assert np.allclose([classifier.scores(shown[i : i + 1])[0] for i in (0, 17)], together[[0, 17]], atol=1e-5)
    assert len(classifier.scores(shown[:0])) == 0


def test_what_is_above_the_threshold_is_unsafe():
    shown = pictures()
    scores = safety.OpenNsfw(0.8).scores(shown)
    middle = float(np.median(scores))
    assert safety.OpenNsfw(middle).unsafe(shown) == (scores > middle).tolist()
    assert safety.OpenNsfw(1.0).unsafe(shown) == [False] * 20


def test_nobody_looks_where_nobody_is_asked_to():
    nobody = SafetyBackend(kind="none", threshold=0.8)
    assert safety.build(nobody) is None
    assert safety.note(nobody) == ""
    assert "0.8" in safety.note(SafetyBackend(kind="open_nsfw", threshold=0.8))
