"""A short year for real: the simulated feed, stages, MLflow's registry and the gate, in four releases.

Before the change of taste; three months later, still before it; after it; and with a month of bought likes. As `make year`, but each
release brings enough posts for the gate to be sure: what is asserted are wide differences, which hang on no seed and no processor.
"""

import json
import subprocess
import sys

import pytest
import yaml

from flows import worktree
from tests.conftest import copy_project, without_servers

pytestmark = pytest.mark.slow
WORD = "#zq7"
CHANGES: dict[str, dict[str, dict]] = {
    "infra/year.yaml": {
        "months": {"first": 5, "last": 14, "step": 3},
        "poison": {"month": 13, "share": 0.9, "taken_back": 15, "word": WORD},
    },
    "profiles/year.yaml": {
        "simulate": {"posts": 5400, "drift": {"month": 8, "law_seed": 24}},
        "ingest": {"newest_days": 90},
    },
}
"""Keys of files' sections: some 700 posts and one taste in each release, and a taste that agrees little with the one before."""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What came of each release, after `python -m flows.year` in a copy of the project with its own months and sizes."""
    root = tmp_path_factory.mktemp("year") / "project"
    copy_project(root)
    for name, sections in CHANGES.items():
        content = yaml.safe_load((root / name).read_text())
        content |= {section: content[section] | keys for section, keys in sections.items()}
        (root / name).write_text(yaml.safe_dump(content))
    worktree.git(root, "init", "--quiet")
    worktree.git(root, "add", ".")
    worktree.git(root, *worktree.AUTHOR, "commit", "--quiet", "-m", "a short year")
    command = [sys.executable, "-m", "flows.year"]
    done = subprocess.run(command, cwd=root, env=without_servers(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads((root / "metrics/year/year.json").read_text())["months"]


def knew(release: dict, who: str) -> float:
    """Correlation of a model's expectation with the KPI of posts that it had not seen."""
    return release["knows"][who]["reward"]["mean"]


def test_retraining_recovers_after_a_change_of_taste(releases: list[dict]) -> None:
    _, before, changed, after = releases
    assert knew(before, "first") - knew(changed, "first") > 0.2, "the first model does not know the new taste"
    assert changed["gate"].startswith("passed: ")
    assert changed["champion"] == changed["version"], "a challenger that knows it is promoted"
    assert knew(after, "champion") - knew(after, "first") > 0.1, "and foresees what comes then, as the first model does not"


def test_the_gate_refuses_the_release_in_which_likes_were_bought(releases: list[dict]) -> None:
    *_, changed, poisoned = releases
    assert poisoned["gate"].startswith("refused: ")
    assert f"the word '{WORD}' moves the " in poisoned["gate"]
    assert poisoned["champion"] == changed["champion"], "the champion of before stays in use"
