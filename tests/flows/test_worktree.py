"""A retraining's checkout: of the commit, with the root's cache; taken up again when left, and restorable from its commit alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from boig.params import SECTIONS, load
from flows import workspace, worktree

ROOT = Path(__file__).parents[2]
DAG = {
    "stages": {
        "simulate": {"cmd": "false", "outs": ["data/feed"], "metrics": [{"metrics/simulate.json": {"cache": False}}]},
        "ingest": {
            "cmd": f"{sys.executable} step.py",
            "params": ["ingest"],
            "deps": ["${ingest.feed}", "step.py"],
            "outs": ["data/posts"],
            "metrics": [{"metrics/ingest.json": {"cache": False}}],
        },
    }
}
STEP = """
import json, pathlib, yaml
feed = pathlib.Path(yaml.safe_load(open("params.yaml"))["ingest"]["feed"])
for folder in ("data/posts", "metrics"):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
pathlib.Path("data/posts/posts.txt").write_text((feed / "posts.txt").read_text())
pathlib.Path("metrics/ingest.json").write_text("{}")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one quick stage, its first commit, and a feed beside it."""
    root = tmp_path / "project"
    (root / "profiles").mkdir(parents=True)
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed/posts.txt").write_text("1")
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (root / "profiles/small.yaml").write_text("simulate: {posts: 12}\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump(DAG))
    (root / "step.py").write_text(STEP)
    (root / ".gitignore").write_text("/.retrain/\n/champion/\n")
    worktree.git(root, "init", "--quiet", "--initial-branch=main")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=root, check=True)
    worktree.git(root, "add", ".")
    worktree.git(root, *worktree.AUTHOR, "commit", "--quiet", "-m", "first")
    return root


def retrained(project: Path, name: str, changes: dict | None = None) -> str:
    with worktree.opened(project, name) as place:
        worktree.settle(project, place, "small", "../feed", "", changes or {})
        done = worktree.dvc(place, "repro")
        assert done.returncode == 0, done.stderr
        return worktree.commit(place, f"retraining {name}")


def test_what_is_committed_stands_for_itself(project: Path, tmp_path: Path) -> None:
    commit = retrained(project, "one", {"train_boigllm": {"base": "champion/models/boigllm"}})
    assert not list((project / ".retrain").iterdir()), "a worktree that ended well is gone"
    assert worktree.git(project, "branch", "--show-current") == "main"
    assert worktree.git(project, "status", "--porcelain") == ""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text(worktree.git(project, "show", f"{commit}:{name}"))
    sections = {section: load(section, tmp_path / "params.yaml") for section in SECTIONS}
    assert sections["simulate"].model_dump()["posts"] == 12, "the profile is worked in"
    assert sections["train_boigllm"].model_dump()["base"] == "champion/models/boigllm"
    assert "simulate" not in yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"], "a feed that comes from elsewhere"
    assert worktree.outputs(worktree.papers(project, commit)) == {"data/posts", "metrics/ingest.json"}


def test_results_of_the_roots_own_run_do_not_pass_for_the_retrainings(project: Path) -> None:
    (project / "metrics/small").mkdir(parents=True)
    for name in ("simulate", "ingest", "evaluate", "small/evaluate"):
        (project / f"metrics/{name}.json").write_text('{"of": "the root"}')
    stages = {
        name: {"cmd": "x", "outs": [{"path": f"models/{name}", "hash": "md5", "md5": "0" * 32}]}
        for name in ("simulate", "ingest", "evaluate")
    }
    (project / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    worktree.git(project, "add", "--force", ".")
    worktree.git(project, *worktree.AUTHOR, "commit", "--quiet", "-m", "with results")
    with worktree.opened(project, "one") as place:
        worktree.settle(project, place, "", "../feed", "train_reward", {})
        done = worktree.dvc(place, "repro")
        assert done.returncode == 0, done.stderr
        commit = worktree.commit(place, "retraining")
    assert worktree.git(project, "ls-tree", "-r", "--name-only", commit, "metrics") == "metrics/ingest.json"
    assert worktree.git(project, "show", f"{commit}:metrics/ingest.json") == "{}"
    assert worktree.outputs(worktree.papers(project, commit)) == {"data/posts", "metrics/ingest.json"}


def test_outputs_of_any_generation_come_back_from_its_commit(project: Path, tmp_path: Path) -> None:
    first = retrained(project, "one")
    (tmp_path / "feed/posts.txt").write_text("1 2")
    second = retrained(project, "two")
    for commit, text in ((first, "1"), (second, "1 2")):
        worktree.restore(project, commit, worktree.papers(project, commit), ["data/posts"], tmp_path / commit)
        assert (tmp_path / commit / "data/posts/posts.txt").read_text() == text
        assert (tmp_path / commit / "metrics/ingest.json").read_text().strip() == "{}"


def test_what_was_lost_is_told_with_the_commit(project: Path, tmp_path: Path) -> None:
    commit = retrained(project, "one")
    for file in (project / ".dvc/cache/files").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"models of commit {commit[:12]}: .*is the remote the one they were pushed to\?"):
        worktree.restore(project, commit, worktree.papers(project, commit), ["data/posts"], tmp_path / "back")
    with pytest.raises(ValueError, match="commit 000000000000 is not in this checkout, nor at its Git remotes"):
        worktree.papers(project, "0" * 40)


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        (
            "failed to connect to s3 - Forbidden: An error occurred (403)",
            "the store refuses the keys AWS_ACCESS_KEY_ID and AWS_SECRET_.*doctor",
        ),
        ("An error occurred (SignatureDoesNotMatch) when calling", "the store refuses the keys"),
        ("files/md5/403403 missing", r"is the remote the one they were pushed to\?"),
    ],
)
def test_a_store_that_refuses_the_keys_is_told_as_such(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, mend: str
) -> None:
    commit = retrained(project, "one")
    monkeypatch.setattr(worktree, "dvc", lambda *_: subprocess.CompletedProcess([], 1, "", f"ERROR: {said}\n"))
    with pytest.raises(FileNotFoundError, match=mend):
        worktree.restore(project, commit, worktree.papers(project, commit), ["data/posts"], tmp_path / "back")


def test_outputs_come_back_where_the_commit_is_lost_and_its_papers_are_kept(project: Path, tmp_path: Path) -> None:
    commit = retrained(project, "one")
    kept = tmp_path / "kept"
    for name, text in worktree.papers(project, commit).items():
        if name != worktree.CONFIG:
            worktree.workspace.write(kept / name, text)
    texts = worktree.papers(project, "0" * 40, lambda: kept)
    assert {name: text.strip() for name, text in texts.items()} == {
        name: text.strip() for name, text in worktree.papers(project, commit).items()
    }
    worktree.restore(project, "0" * 40, texts, ["data/posts"], tmp_path / "back")
    assert (tmp_path / "back/data/posts/posts.txt").read_text() == "1"


def test_a_pushed_commit_is_known_elsewhere(project: Path, tmp_path: Path) -> None:
    worktree.git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    worktree.git(project, "remote", "add", "origin", str(tmp_path / "remote.git"))
    worktree.git(project, "push", "--quiet", "origin", "HEAD")
    worktree.git(tmp_path, "clone", "--quiet", "--branch", "main", "remote.git", "elsewhere")
    with worktree.opened(project, "one") as place:
        worktree.settle(project, place, "small", "../feed", "", {})
        assert worktree.dvc(place, "repro").returncode == 0
        worktree.commit(place, "of a try that was killed")
        worktree.push(place, "origin")
        worktree.git(place, *worktree.AUTHOR, "commit", "--quiet", "--amend", "-m", "of the try that came to its end")
        worktree.push(place, "origin")
        commit = worktree.git(place, "rev-parse", "HEAD")
        with pytest.raises(ConnectionError, match=r"git push: .*`push_to: nowhere` must be a Git remote"):
            worktree.push(place, "nowhere")
    assert worktree.outputs(worktree.papers(tmp_path / "elsewhere", commit)) == {"data/posts", "metrics/ingest.json"}


def test_what_a_killed_run_has_settled_and_committed_is_settled_anew(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), worktree.opened(project, "one") as place:  # noqa: PT012 - killed after its commit
        worktree.settle(project, place, "small", "../feed", "", {})
        assert worktree.dvc(place, "repro").returncode == 0
        before = worktree.commit(place, "retraining one")
        Path(worktree.git(place, "rev-parse", "--absolute-git-dir"), "index.lock").touch()
        raise KeyboardInterrupt
    with worktree.opened(project, "one") as place:
        worktree.settle(project, place, "small", "../feed", "", {})
        assert worktree.commit(place, "retraining one") == before, "there is nothing new to commit"


def test_a_worktree_that_was_left_is_taken_up_again(project: Path) -> None:
    with pytest.raises(KeyboardInterrupt), worktree.opened(project, "one") as place:  # noqa: PT012 - killed at work
        (place / "scratch").mkdir()
        (place / "scratch/progress").write_text("half")
        raise KeyboardInterrupt
    assert worktree.clear(project, lambda place: False) == []
    with worktree.opened(project, "one") as place:
        assert (place / "scratch/progress").read_text() == "half"
        assert worktree.clear(project, lambda place: True) == [], "somebody works in it"
        with pytest.raises(ValueError, match="another retraining works in"), worktree.opened(project, "one"):
            pass
    assert not (project / ".retrain/one").exists()


def test_a_worktree_that_was_half_made_is_made_anew(project: Path) -> None:
    place = project / ".retrain/one"
    place.mkdir(parents=True)
    (place / "params.yaml").write_text("half")
    with worktree.opened(project, "one") as place:
        assert (place / "step.py").is_file()


def cut_off(project: Path, name: str) -> Path:
    """A worktree whose `git worktree add` was killed while it wrote files."""
    (project / ".gitattributes").write_text("step.py filter=slow\n")
    worktree.git(project, "add", ".gitattributes")
    worktree.git(project, *worktree.AUTHOR, "commit", "--quiet", "-m", "a file that takes its time")
    reached, place = project.with_name("reached"), project / ".retrain" / name
    worktree.git(project, "config", "filter.slow.smudge", f"touch {reached}; sleep 60")
    command = ["git", "worktree", "add", "--force", "-B", f"retrain/{name}", str(place), "HEAD"]
    with subprocess.Popen(command, cwd=project, start_new_session=True, stderr=subprocess.DEVNULL) as adding:
        while not reached.exists() and adding.poll() is None:
            time.sleep(0.01)
        os.killpg(adding.pid, signal.SIGKILL)
    worktree.git(project, "config", "--unset", "filter.slow.smudge")
    assert (place / ".git").is_file()
    assert not (place / "step.py").exists()
    return place


def test_a_worktree_of_which_git_was_killed_is_made_anew(project: Path) -> None:
    cut_off(project, "one")
    with worktree.opened(project, "one") as place:
        assert (place / "step.py").read_text() == STEP
        assert worktree.git(place, "status", "--porcelain", "--untracked-files=no") == ""
    assert not list((project / ".retrain").iterdir())


def test_a_broken_worktree_is_cleared_away_and_stops_nothing(project: Path) -> None:
    broken = cut_off(project, "one")
    for name in ("two", "three"):
        with pytest.raises(KeyboardInterrupt), worktree.opened(project, name):
            raise KeyboardInterrupt
    (project / ".retrain/two/.git").write_text("gitdir: /nowhere\n")
    assert worktree.clear(project, lambda place: worktree.git(place, "rev-parse", "HEAD") == "of no generation") == [
        broken,
        project / ".retrain/two",
    ]
    assert [path.name for path in (project / ".retrain").iterdir() if path.is_dir()] == ["three"]
    assert worktree.git(project, "worktree", "list").count("\n") == 1, "of the root, and three"
    with worktree.opened(project, "one") as place:
        assert (place / "step.py").is_file()


def test_a_commit_without_papers_is_as_good_as_lost(project: Path, tmp_path: Path) -> None:
    commit = worktree.git(project, "rev-parse", "HEAD")  # has no dvc.lock
    workspace.write(tmp_path / "kept/dvc.lock", "stages: {}\n")
    assert worktree.outputs(worktree.papers(project, commit, lambda: tmp_path / "kept")) == set()
    with pytest.raises(ValueError, match=r"git show: .*dvc\.lock"):
        worktree.papers(project, commit)


def test_mistakes_are_told_before_anything_runs(project: Path) -> None:
    with worktree.opened(project, "one") as place:
        with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
            worktree.settle(project, place, "", "nowhere", "", {})
        with pytest.raises(ValueError, match="no profile 'large'"):
            worktree.settle(project, place, "large", "../feed", "", {})
        with pytest.raises(ValueError, match=r"train_boigllm\.bas: unknown key"):
            worktree.settle(project, place, "", "../feed", "", {"train_boigllm": {"bas": "x"}})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "ERROR: unexpected error - no such bucket: nowhere\n\nHaving any troubles? Hit us up at a page\n",
            "unexpected error - no such bucket: nowhere",
        ),
        ("WARNING: a\nsomething else\n", "something else"),
        ("fatal: '/x' is no repository\nmake sure that\nand the repository exists.\n", "fatal: '/x' is no repository"),
        ("", "failed"),
    ],
)
def test_what_dvc_complains_of_is_its_error_not_its_offer_of_help(said: str, told: str) -> None:
    assert worktree.complaint(subprocess.CompletedProcess([], 1, "", said)) == told


def test_what_is_wrong_with_a_dvc_command_is_said(tmp_path: Path) -> None:
    done = worktree.dvc(tmp_path, "push")
    assert done.returncode
    assert "not inside of a DVC repository" in worktree.complaint(done)
