"""The image of all nodes: what it installs, who runs in it, which commit it has."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.test_ray_files import AWS, DOCKERFILE, KUBERAY, ROOT, instructions, load, user_and_home


class TestImage:
    def test_it_has_what_make_setup_installs(self):
        """The same options of uv and pip, on the same lock files."""
        makefile = (ROOT / "Makefile").read_text()
        for name in ("LOCKED", "FROM_SOURCE"):
            options = re.search(rf"^{name} := (?:\.venv/bin/uv )?(.*)$", makefile, re.M)[1]  # type: ignore[index]
            wanted = options.replace("pip install", "pip install --system --no-cache").replace(
                "requirements.lock", "/tmp/requirements.lock"
            )
            assert wanted in DOCKERFILE, name
        assert "--no-deps --require-hashes --only-binary :all: -r /tmp/requirements.uv.lock" in DOCKERFILE
        assert "-r /tmp/requirements.lock ${cuda:-}" in DOCKERFILE

    def test_python_is_the_projects_pinned_and_slim(self):
        base = instructions("FROM")[0]
        assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+ AS system", base)

    def test_no_host_and_no_root(self):
        assert not re.search(r"https?://", DOCKERFILE)
        assert user_and_home()[0] > 0
        assert instructions("CMD") == ['["bash"]']  # `ray up` appends its own
        assert not instructions("ENTRYPOINT")

    def test_rays_version_is_that_of_the_lock(self):
        locked = re.search(r"^ray==([\w.]+)", (ROOT / "requirements.lock").read_text(), re.M)[1]  # type: ignore[index]
        assert load(KUBERAY / "raycluster.yaml")["spec"]["rayVersion"] == locked
        images = re.findall(r"image: (\S+)", "".join(path.read_text() for path in [*AWS.glob("*.yaml"), *KUBERAY.glob("*.yaml")]))
        assert set(images) == {"FILL_IN_IMAGE"}

    def test_the_code_stage_gets_the_commit_and_nothing_else(self, tmp_path: Path):
        """Its own command, on what .dockerignore lets through."""
        if not (ROOT / ".git").is_dir():
            pytest.skip("not a git checkout of its own")
        rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
        assert rules[:2] == ["*", "!.git"]
        shutil.copytree(ROOT / ".git", tmp_path / "source/.git", ignore=lambda folder, names: [
            name for name in names if (Path(folder) / name).relative_to(ROOT).as_posix() in rules[2:]
        ])  # fmt: skip
        assert not (tmp_path / "source/.git/config").exists()
        (command,) = [line for line in instructions("RUN") if line.startswith("git clone")]
        command = command.replace("file:///source", f"file://{tmp_path}/source").replace("/app", f"{tmp_path}/app")
        subprocess.run(command, shell=True, check=True, cwd=tmp_path)

        def git(*words: str, at: Path = tmp_path / "app") -> str:
            return subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=True).stdout

        assert git("rev-parse", "HEAD") == git("rev-parse", "HEAD", at=ROOT)
        assert git("remote") == git("status", "--porcelain") == ""
        assert (tmp_path / "app/requirements.lock").is_file()
        assert not (tmp_path / "app/.venv").exists()
