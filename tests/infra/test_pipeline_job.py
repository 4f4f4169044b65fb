"""`infra/image/pipeline.sh` with real git and DVC on a small project: what a job leaves on the volume and in the store, and what it finds.

Stubs stand for flows.repro, flows.workspace and infra.remote, which have tests of their own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "image" / "pipeline.sh"
FILES = {
    "dvc.yaml": (
        "stages:\n"
        "  first: {cmd: echo first >> $LOG && cp in.txt a.txt, deps: [in.txt], outs: [a.txt]}\n"
        "  second: {cmd: echo second >> $LOG && test ! -e $BROKEN && cp a.txt b.txt, deps: [a.txt], outs: [b.txt]}\n"
    ),
    "in.txt": "what is made of\n",
    "infra/__init__.py": "",
    "infra/remote.py": (
        "import os, pathlib\n"
        "pathlib.Path('.dvc/config.local').write_text("
        "'[core]\\nremote = store\\n[\\'remote \"store\"\\']\\nurl = ' + os.environ['BOIG_S3_URL'] + '\\n')\n"
    ),
    "flows/__init__.py": "",
    "flows/repro.py": (
        "import os, subprocess, sys\n"
        "print('repro', *sys.argv[1:], os.environ['RAY_ADDRESS'], os.environ.get('OMP_NUM_THREADS'))\n"
        "at = '.profiles/small' if '--profile' in sys.argv else '.'\n"
        "sys.exit(subprocess.run(['dvc', 'repro', '-q'], cwd=at).returncode)\n"
    ),
    "flows/workspace.py": (
        "import configparser, shutil\n"
        "def prepare(root, name):\n"
        "    place, config = root / '.profiles' / name, configparser.ConfigParser()\n"
        "    shutil.copytree(root, place, ignore=shutil.ignore_patterns('.git', '.profiles', 'cache'), dirs_exist_ok=True)\n"
        "    config.read(root / '.dvc/config.local')\n"
        "    config.read_dict({'core': {'no_scm': 'true'}, 'cache': {'dir': '../../../.dvc/cache'}})\n"
        "    with (place / '.dvc/config.local').open('w') as file:\n"
        "        config.write(file)\n"
        "    return place\n"
    ),
}


def call(*command: str, at: Path) -> str:
    return subprocess.run(command, cwd=at, check=True, capture_output=True, text=True, env=environment()).stdout.strip()


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}


class Cluster:
    """An image, a volume and a store."""

    def __init__(self, folder: Path):
        self.app, self.volume, self.store, self.log, self.broken = (folder / n for n in ("app", "volume", "store", "log", "broken"))
        self.volume.mkdir()
        for name, text in FILES.items():
            (self.app / name).parent.mkdir(parents=True, exist_ok=True)
            (self.app / name).write_text(text)
        for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"], ["git", "add", "--all"]):
            call(*command, at=self.app)
        self.commit()

    def commit(self) -> None:
        call("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--all", "--message", "x", at=self.app)

    def run(self, **settings: str) -> subprocess.CompletedProcess:
        """A job; `ran` says which stages it ran."""
        self.log.write_text("")
        own = {"BOIG_APP": self.app, "BOIG_WORKSPACE": self.volume, "BOIG_S3_URL": self.store, "MLFLOW_TRACKING_URI": "http://mlflow"}
        own |= {"LOG": self.log, "BROKEN": self.broken, "OMP_NUM_THREADS": "1"}
        env = environment() | {name: str(value) for name, value in own.items()} | settings
        env = {name: value for name, value in env.items() if value and name not in {"RAY_ADDRESS", "PROFILE", "STAGE"} - set(settings)}
        return subprocess.run([SCRIPT], env=env, capture_output=True, text=True, check=False)

    @property
    def ran(self) -> list[str]:
        return self.log.read_text().split()

    @property
    def place(self) -> Path:
        return self.volume / call("git", "rev-parse", "--short=12", "HEAD", at=self.app)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.mark.slow
def test_results_outlive_the_volume(cluster: Cluster):
    done = cluster.run(STAGE="second")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "repro --stage second auto None"
    assert cluster.ran == ["first", "second"]
    lock = (cluster.place / "dvc.lock").read_text()
    assert call("git", "status", "--porcelain", at=cluster.place) == "?? .gitignore\n?? dvc.lock"

    cluster.volume.rename(cluster.volume.with_name("lost"))
    cluster.volume.mkdir()
    (cluster.app / "dvc.lock").write_text(lock)  # as committed from what the first run published
    call("git", "add", "dvc.lock", at=cluster.app)
    cluster.commit()
    assert cluster.run().returncode == 0
    assert cluster.ran == []
    assert (cluster.place / "b.txt").read_text() == FILES["in.txt"]


@pytest.mark.slow
def test_a_run_that_fails_keeps_what_was_done_also_for_the_next_commit(cluster: Cluster):
    cluster.broken.touch()
    assert cluster.run().returncode != 0
    assert cluster.ran == ["first", "second"]
    assert list(cluster.store.glob("files/md5/*/*")), "what was done is in the store"
    cluster.broken.unlink()
    (cluster.app / "README.md").write_text("a mend elsewhere\n")
    call("git", "add", "README.md", at=cluster.app)
    cluster.commit()
    assert cluster.run().returncode == 0
    assert cluster.ran == ["second"]
    assert len([path for path in cluster.volume.iterdir() if path.name != "cache"]) == 2


@pytest.mark.slow
def test_a_profile_runs_in_its_workspace_and_shares_the_cache(cluster: Cluster):
    assert cluster.run().returncode == 0
    done = cluster.run(PROFILE="small")
    assert done.returncode == 0, done.stderr
    assert cluster.ran == []
    assert (cluster.place / ".profiles/small/b.txt").is_file()


@pytest.mark.slow
def test_two_first_jobs_at_once_share_one_checkout(cluster: Cluster, tmp_path: Path):
    (tmp_path / "bin").mkdir()
    other = f"git clone --quiet {cluster.app} {cluster.place} && ln -s ../../cache {cluster.place}/.dvc/cache"
    (tmp_path / "bin/mv").write_text(f'#!/bin/bash\n{other}\n{shutil.which("mv")} "$@"\n')
    (tmp_path / "bin/mv").chmod(0o755)
    done = cluster.run(PATH=f"{tmp_path / 'bin'}{os.pathsep}{environment()['PATH']}")
    assert done.returncode == 0, done.stderr
    assert cluster.ran == ["first", "second"]
    assert {path.name for path in cluster.volume.iterdir()} == {"cache", cluster.place.name}


@pytest.mark.parametrize("name", ["BOIG_S3_URL", "MLFLOW_TRACKING_URI"])
def test_a_missing_setting_is_told_before_anything_is_written(cluster: Cluster, name: str):
    done = cluster.run(**{name: ""})
    assert done.returncode != 0
    assert f"{name}: must name" in done.stderr
    assert list(cluster.volume.iterdir()) == []
