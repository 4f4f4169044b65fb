"""Profiles: merged parameters, a workspace of their own, and mistakes told in one line."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from boig.params import SECTIONS, load
from flows import workspace
from flows.repro import main

ROOT = Path(__file__).parents[2]
PROFILES = workspace.names(ROOT)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small copy of the project, known to Git, with one profile."""
    root = tmp_path / "project"
    for folder in ("profiles", ".dvc", "flows", "data"):
        (root / folder).mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (root / "flows" / "simulate.py").write_text("# code\n")
    (root / "data" / "secret.bin").write_text("not tracked")
    (root / "profiles" / "tiny.yaml").write_text("simulate: {posts: 12}\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


@pytest.mark.parametrize("profile", PROFILES)
def test_every_shipped_profile_is_complete_and_valid(profile: str, tmp_path: Path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(workspace.overlay(ROOT, profile)))
    for section in SECTIONS:
        assert load(section, tmp_path / "params.yaml")


@pytest.mark.parametrize("profile", PROFILES)
def test_parts_that_must_agree_do_agree_in_every_profile(profile: str):
    params = workspace.overlay(ROOT, profile)
    assert params["train_reward"]["feed"] == workspace.SIMULATED, f"{profile}: it follows ingest.feed, so a profile names the feed once"
    if params["ingest"]["feed"] == workspace.SIMULATED:
        assert params["simulate"]["kpi"] == params["ingest"]["kpi"]
        assert params["simulate"]["splits"] == params["ingest"]["splits"]
    for section in ("align_boigsd", "evaluate"):
        for key in ("detector", "captioner", "min_coverage"):
            assert params[section]["verbalizer"][key] == params["verbalize"][key], f"{profile}: {section}.verbalizer.{key}"
    assert params["evaluate"]["drawing"]["base"] == params["align_boigsd"]["base"]["model"]


def test_a_profile_changes_its_keys_and_no_others():
    base, over = yaml.safe_load((ROOT / "params.yaml").read_text()), workspace.overlay(ROOT, "smoke")
    assert over["simulate"]["posts"] != base["simulate"]["posts"]
    assert over["simulate"]["law_seed"] == base["simulate"]["law_seed"]
    assert over["ingest"]["columns"] == base["ingest"]["columns"]


def test_a_workspace_has_the_tracked_files_the_merged_parameters_and_the_roots_cache(project: Path):
    place = workspace.prepare(project, "tiny")
    assert place == project / ".profiles" / "tiny"
    assert load("simulate", place / "params.yaml").posts == 12
    assert (place / "flows" / "simulate.py").read_text() == "# code\n"
    assert not (place / "data").exists()
    assert (place / ".dvc" / "cache").parent.is_dir()
    config = (place / ".dvc" / "config.local").read_text()
    assert "no_scm = true" in config
    assert "../../../.dvc/cache" in config
    assert yaml.safe_load((place / "dvc.yaml").read_text()) == yaml.safe_load((project / "dvc.yaml").read_text())


def test_only_what_changed_is_written_again(project: Path):
    place = workspace.prepare(project, "tiny")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    (project / "flows" / "ingest.py").write_text("# new\n")
    (project / "profiles" / "tiny.yaml").write_text("simulate: {posts: 13}\n")
    workspace.prepare(project, "tiny")
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    changed = {path.relative_to(place).as_posix() for path in after if after[path] != before.get(path)}
    assert changed == {"flows/ingest.py", "params.yaml", workspace.COPIED}
    (project / "flows" / "ingest.py").unlink()
    workspace.prepare(project, "tiny")
    assert not (place / "flows" / "ingest.py").exists()


def test_a_real_feed_drops_the_simulation(project: Path):
    (project.parent / "feed").mkdir()
    (project / "profiles" / "real.yaml").write_text("ingest: {feed: ../feed}\n")
    place = workspace.prepare(project, "real")
    dag = yaml.safe_load((place / "dvc.yaml").read_text())["stages"]
    assert "simulate" not in dag
    assert not [dep for stage in dag.values() for dep in stage["deps"] if dep.startswith(("data/feed", "metrics/simulate"))]
    for section in ("ingest", "train_reward"):
        assert (place / load(section, place / "params.yaml").feed).resolve() == (project.parent / "feed").resolve()


def test_results_come_back_under_the_profiles_name_and_touch_nothing_else(project: Path):
    (project / "metrics").mkdir()
    (project / "metrics" / "simulate.json").write_text("default")
    place = workspace.prepare(project, "tiny")
    for name in ("metrics/simulate.json", "reports/report.html", "dvc.lock"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("tiny")
    workspace.collect(project, "tiny")
    assert (project / "metrics" / "simulate.json").read_text() == "default"
    assert (project / "metrics" / "tiny" / "simulate.json").read_text() == "tiny"
    assert (project / "reports" / "tiny" / "report.html").read_text() == "tiny"
    assert (project / "profiles" / "tiny.lock").read_text() == "tiny"
    assert not (project / "dvc.lock").exists()


@pytest.mark.parametrize(
    ("profile", "text", "message"),
    [
        ("nope", "", "no profile 'nope'; profiles/ has bad, tiny"),
        ("bad", "simulat: {posts: 1}", "profiles/bad.yaml: simulat: params.yaml has no such key"),
        ("bad", "simulate: {post: 1}", "profiles/bad.yaml: simulate.post: params.yaml has no such key"),
        ("bad", "simulate: 3", "profiles/bad.yaml: simulate must map keys"),
        ("bad", "simulate: {posts: 0}", "profiles/bad.yaml over params.yaml: simulate.posts"),
        ("bad", "ingest: {feed: ../nowhere}", "ingest.feed: ../nowhere does not exist"),
        ("bad", "simulate: {posts: [1", "profiles/bad.yaml is not YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_value_and_mend(
    profile: str, text: str, message: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (project / "profiles" / "bad.yaml").write_text(text)
    monkeypatch.chdir(project)
    assert main(["--profile", profile]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list((project / ".profiles").rglob("dvc.yaml")), "half a workspace was left"


def test_outside_of_a_project_the_mend_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert "run from the project's root" in capsys.readouterr().err
