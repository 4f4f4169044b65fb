"""`infra/image/worker.sh` with real git: the checkout that scheduled runs work in, and what is run there.

Stubs stand for what it calls, which have tests of their own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "image" / "worker.sh"
SAYS = (
    "import os, sys\n"
    "told = {name: os.environ.get(name) for name in ('RAY_ADDRESS', 'PREFECT_API_AUTH_STRING', 'OMP_NUM_THREADS')}\n"
    "print(__spec__.name.removesuffix('.__main__'), *sys.argv[1:], *told.values(), os.path.basename(os.getcwd()))\n"
    "sys.exit(os.path.exists(os.environ['BROKEN']) and __spec__.name == 'boig.gcs')\n"
)
MODULES = ("boig.gcs", "infra.remote", "infra.deploy", "prefect.__main__")


class Head:
    """The head of a cluster: an image, a workspace, a home."""

    def __init__(self, folder: Path):
        self.app, self.volume, self.home, self.broken = (folder / name for name in ("app", "volume", "home", "broken"))
        for place in (self.volume, self.home / ".boig", self.app / ".dvc"):
            place.mkdir(parents=True)
        (self.app / ".dvc" / "config").write_text("")
        (self.home / ".boig" / "environment").write_text("PREFECT_API_URL=http://prefect/api\nPREFECT_API_AUTH_STRING=a:key\n")
        for module in MODULES:
            path = self.app / (module.replace(".", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            (path.parent / "__init__.py").write_text("")
            path.write_text(SAYS)
        git(self.app, "init", "--quiet")
        self.commit()

    def commit(self) -> None:
        """A new image."""
        git(self.app, "add", "--all")
        git(self.app, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "--message", "x")

    def work(self, **settings: str) -> subprocess.CompletedProcess:
        """Start the worker, which is a stub that ends."""
        own = {"BOIG_APP": self.app, "BOIG_WORKSPACE": self.volume, "HOME": self.home, "BROKEN": self.broken, "OMP_NUM_THREADS": "1"}
        own |= {"BOIG_S3_URL": "s3://boig", "MLFLOW_TRACKING_URI": "http://mlflow", "PYTHONDONTWRITEBYTECODE": "1"}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PREFECT_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = clean | {name: str(value) for name, value in own.items()} | {"PATH": path} | settings
        return subprocess.run([SCRIPT], env=env, capture_output=True, text=True, check=False)


def git(place: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def head(tmp_path: Path) -> Head:
    return Head(tmp_path)


def test_it_deploys_and_works_in_one_checkout_that_follows_the_image(head: Head):
    done = head.work()
    assert done.returncode == 0, done.stderr
    with_key = "auto a:key None project"
    assert done.stdout.splitlines() == [
        f"boig.gcs {with_key}",
        f"infra.remote {with_key}",
        f"infra.deploy {with_key}",
        f"prefect worker start --pool=boig --type=process --name=head --with-healthcheck {with_key}",
    ]
    project = head.volume / "project"
    git(project, "branch", "a-retraining")
    head.commit()
    assert head.work().returncode == 0
    assert git(project, "rev-parse", "HEAD") == git(head.app, "rev-parse", "HEAD")
    assert git(project, "branch", "--list", "a-retraining")
    assert (project / ".dvc" / "cache").resolve() == (head.volume / "cache").resolve()


def test_two_that_begin_at_once_work_in_one_checkout(head: Head):
    hurry = head.app.parent / "bin"
    hurry.mkdir()
    (hurry / "mv").write_text(f'#!/bin/bash\ngit clone --quiet {head.app} {head.volume}/project\n{shutil.which("mv")} "$@"\n')
    (hurry / "mv").chmod(0o755)
    done = head.work(PATH=f"{hurry}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "prefect worker start" in done.stdout
    assert sorted(path.name for path in head.volume.iterdir()) == ["cache", "project"]


def test_a_checkout_that_cannot_be_put_in_its_place_is_told(head: Head):
    (head.app.parent / "bin").mkdir()
    (head.app.parent / "bin/mv").write_text("#!/bin/bash\necho no space left >&2\nexit 1\n")
    (head.app.parent / "bin/mv").chmod(0o755)
    done = head.work(PATH=f"{head.app.parent / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode != 0
    assert "no space left" in done.stderr
    assert [path.name for path in head.volume.iterdir()] == ["cache"]


def test_nothing_is_deployed_where_no_stage_could_run(head: Head):
    head.broken.touch()
    done = head.work()
    assert done.returncode != 0
    assert "infra.deploy" not in done.stdout


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "BOIG_S3_URL", "MLFLOW_TRACKING_URI"])
def test_a_missing_setting_is_told_before_anything_is_written(head: Head, name: str):
    (head.home / ".boig" / "environment").unlink()
    done = head.work(**{"PREFECT_API_URL": "http://prefect/api"} | {name: ""})
    assert done.returncode != 0
    assert f"{name}: must name" in done.stderr
    assert list(head.volume.iterdir()) == []
