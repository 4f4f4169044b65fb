"""The verbalize stage without Ray: what is done, what is kept, what is an error."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from boig.contracts import PICTURES, VERBALIZED
from boig.sections.verbalize import Verbalize
from boig.verbalizer.form import Verbalization
from boig.verbalizer.grid_detector import GridConfig, GridNet, save
from tasks import verbalize as tasks


def png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def picture_row(name, content, side=64):
    return {"picture_id": name, "png": content, "width": side, "height": side, "phash": "0" * 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(2)
    net = GridNet(GridConfig(("cup", "shoe", "text"), width=8, blocks=1))
    torch.nn.init.normal_(net.head.bias, std=2.0)
    return save(net, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def section(model):
    return Verbalize(
        detector={"kind": "grid", "model": str(model), "revision": "", "threshold": 0.3, "labels": ()},
        captioner={"kind": "template", "model": "", "revision": "", "prompt": "", "max_tokens": 0, "tries": 1},
        min_coverage=0.03, batch_size=4, check_pictures=0, check_seed=1, resources={"workers": 1, "cpus": 1, "gpus": 0},
    )  # fmt: skip


@pytest.fixture
def workspace(tmp_path):
    rng = np.random.default_rng(0)
    rows = [picture_row(f"p{i}", png(rng.integers(0, 256, (64 + 16 * (i % 2), 64, 3), dtype=np.uint8))) for i in range(6)]
    PICTURES.write([*rows, picture_row("p6", b"no picture at all"), picture_row("p7", rows[0]["png"][:200])], tmp_path)
    return tmp_path


def run(section, root):
    work = tasks.plan(section, root)
    actor = tasks.PictureVerbalizer(section, str(root / tasks.KNOWN))
    done = [row for start in range(0, len(work.todo), 4) for row in actor(list(work.todo[start : start + 4]))]
    return tasks.assemble(work, done, root), work


def table_bytes(root):
    return (root / VERBALIZED.path).read_bytes()


def test_every_picture_is_a_row_in_order_and_bad_ones_say_why(section, workspace):
    rows, _ = run(section, workspace)
    stored = VERBALIZED.read(workspace).to_pylist()
    assert [r["picture_id"] for r in stored] == [f"p{i}" for i in range(8)] == [r["picture_id"] for r in rows]
    assert [bool(r["error"]) for r in stored] == [False] * 6 + [True, True]
    assert "UnidentifiedImageError" in stored[6]["error"]
    for row in stored[:6]:
        said = Verbalization.from_json(row["text"])
        assert said.caption == row["caption"]
        assert said.tones == (row["warm"], row["neutral"], row["cool"])
        assert [(c.name, c.coverage) for c in said.colors] == [(c["name"], c["coverage"]) for c in row["colors"]]
        assert [(o.label, list(o.box)) for o in said.objects] == [(o["label"], o["box"]) for o in row["objects"]]
    numbers = tasks.metrics(rows, {}, computed=8, seconds=4.0)
    assert numbers == {"rows_in": 8, "ok": 6, "failed": 2, "pictures_per_s": 2.0}


def test_a_second_run_touches_only_what_failed_or_changed(section, workspace):
    run(section, workspace)
    first = table_bytes(workspace)
    (workspace / VERBALIZED.path).unlink()  # as DVC does before a run
    _, work = run(section, workspace)
    assert [r["picture_id"] for r in work.todo] == ["p6", "p7"]
    assert table_bytes(workspace) == first
    rows = PICTURES.read(workspace).to_pylist()
    rows[2]["png"] = png(np.zeros((64, 64, 3), np.uint8))
    PICTURES.write(rows[:6], workspace)
    assert [r["picture_id"] for r in run(section, workspace)[1].todo] == ["p2"]
    assert len(tasks.plan(section.model_copy(update={"min_coverage": 0.1}), workspace).todo) == 6


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(section, workspace, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    PICTURES.write(PICTURES.read(workspace), whole)
    run(section, whole)
    work = tasks.plan(section, workspace)
    tasks.PictureVerbalizer(section, str(workspace / tasks.KNOWN))(list(work.todo[:4]))  # then the process dies
    assert len(tasks.plan(section, workspace).todo) == 4
    run(section, workspace)
    assert table_bytes(workspace) == table_bytes(whole)


def test_what_is_no_longer_a_picture_of_the_feed_is_forgotten(section, workspace):
    run(section, workspace)
    rows = PICTURES.read(workspace).to_pylist()
    PICTURES.write(rows[:3], workspace)
    run(section, workspace)
    PICTURES.write(rows, workspace)
    assert [r["picture_id"] for r in tasks.plan(section, workspace).todo] == ["p3", "p4", "p5", "p6", "p7"]


def test_one_picture_that_the_backend_refuses_costs_itself_only(section, workspace):
    actor = tasks.PictureVerbalizer(section, str(workspace / tasks.KNOWN))
    inner = actor.verbalizer.detector

    class Choosy:
        labels, model_id = inner.labels, inner.model_id

        def detect(self, pictures):
            if (pictures[:, 0, 0] == (1, 2, 3)).all(-1).any():
                raise RuntimeError("cannot see\nthis one")
            return inner.detect(pictures)

    actor.verbalizer.detector = Choosy()
    pictures = np.zeros((5, 64, 64, 3), np.uint8)
    pictures[3, 0, 0] = (1, 2, 3)
    rows = actor([{"picture_id": str(i), "version": str(i), "png": png(p), "keep": False} for i, p in enumerate(pictures)])
    assert [r["error"] for r in rows] == ["", "", "", "RuntimeError: cannot see this one", ""]
    assert not (workspace / tasks.KNOWN).exists()


def test_nothing_to_do_and_nothing_done_are_mistakes_with_a_mend(section, workspace):
    PICTURES.write([picture_row("p", b"not a picture")], workspace)
    with pytest.raises(ValueError, match="none of 1 pictures"):
        run(section, workspace)
    assert not (workspace / VERBALIZED.path).exists()
    PICTURES.write([], workspace)
    with pytest.raises(ValueError, match="no pictures"):
        tasks.plan(section, workspace)
    gone = section.model_copy(update={"detector": section.detector.model_copy(update={"model": "base/gone/away"})})
    PICTURES.write([picture_row("p", b"not a picture")], workspace)
    with pytest.raises(FileNotFoundError, match="base/gone/away"):
        tasks.plan(gone, workspace)


def test_checked_pictures_are_scored_against_what_was_drawn():
    rows, truths = tasks.check_rows(20, seed=3)
    perfect = [{"objects": [{"label": o.label, "box": list(o.box), "score": 1.0} for o in truth]} for truth in truths]
    scores = tasks.check_scores(truths, perfect, seed=0)
    assert scores["label_accuracy"]["mean"] == 1
    assert scores["mean_iou"]["mean"] == 1
    assert scores["mean_iou"]["n"] == sum(map(len, truths))
    blind = tasks.check_scores(truths, [{"objects": []}] * 20, seed=0)
    assert blind["label_accuracy"]["mean"] == 0
    assert blind["mean_iou"]["hi"] == 0
    assert tasks.check_scores([], [], seed=0) == {}
    assert not any(row["keep"] for row in rows)


def test_the_contact_sheet_shows_the_first_good_pictures(section, workspace):
    rows, _ = run(section, workspace)
    page = tasks.sheet(rows, workspace)
    assert page.shape == (512, 512, 3)
    assert (page[130:, 260:] == 255).all()
    assert not (page[:128] == 255).all()
