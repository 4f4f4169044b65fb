"""Git's hooks run locked tools, and stop what they should."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.supply import lock

ROOT = Path(__file__).parents[2]


def pins(path: Path) -> dict[str, str]:
    """Name to version."""
    return {pin.name: pin.version for pin in lock.read(ROOT / path)}


def hooks() -> list[dict]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    return [hook | {"repo": repo["repo"]} for repo in config["repos"] for hook in repo["hooks"]]


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_a_hook_runs_a_locked_tool(hook: dict):
    assert (hook["repo"], hook["language"]) == ("local", "system")
    folder, _, tool = hook["entry"].split()[0].partition("/bin/")
    package = {"detect-secrets-hook": "detect-secrets", "ruff": "ruff", "mypy": "mypy"}.get(tool, "pre-commit-hooks")
    assert package in pins({".venv": lock.PROJECT, ".tools": lock.TOOLS}[folder])


@pytest.mark.slow
def test_the_hooks_stop_what_they_should(tmp_path: Path, tools: Path):
    """With the hooks that need no Python source, in a repository of their own."""
    (tmp_path / ".tools").symlink_to(tools.parent)
    (tmp_path / ".pre-commit-config.yaml").write_text((ROOT / ".pre-commit-config.yaml").read_text())
    env = os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "home"), "GIT_CONFIG_GLOBAL": os.devnull}

    def run(name: str, text: str) -> tuple[int, str]:
        (tmp_path / name).write_text(text)
        subprocess.run(["git", "add", name], cwd=tmp_path, env=env, check=True)
        command = [str(tools / "pre-commit"), "run", "--files", name]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, env=env, check=True)
    assert run("good.yaml", "bucket: data\n")[0] == 0
    for name, text, hook in (
        ("bad.yaml", "a: [1,\n", "YAML can be read"),
        ("key.txt", "-----BEGIN RSA PRIVATE" + " KEY-----\n", "no secrets"),
        ("env.yaml", "aws_secret_access" + "_key: 'wJalrXUtnFEMIbPxRfiCYzEXAMPLEKEYab'\n", "no secrets"),
        ("big.txt", "x" * 600_000, "no large files"),
    ):
        code, said = run(name, text)
        assert code == 1
        assert [line.split("....")[0] for line in said.splitlines() if line.endswith("Failed")] == [hook], said
