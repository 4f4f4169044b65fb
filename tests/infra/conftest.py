"""The tools that run beside the project, small lock files, and a folder in which the compose file was set up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.compose import init
from infra.supply import lock
from tests.infra.compose_file import GIVEN

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tools() -> Path:
    """Where the tools beside the project are."""
    folder = ROOT / ".tools" / "bin"
    if not folder.is_dir():
        pytest.skip("no .tools here: `make test` makes them")
    return folder


@pytest.fixture
def small_lock(tmp_path: Path) -> Callable[..., Path]:
    """Writes a lock file of a few of the project's own pins."""

    def write(*names: str) -> Path:
        chosen = [pin for pin in lock.read(ROOT / lock.PROJECT) if pin.name in names]
        lines = [" ".join([f"{pin.name}=={pin.version}", *(f"--hash=sha256:{digest}" for digest in pin.hashes)]) for pin in chosen]
        (tmp_path / lock.PROJECT).write_text("\n".join(lines) + "\n")
        return tmp_path / lock.PROJECT

    return write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `init` has been."""
    folder = tmp_path_factory.mktemp("compose")
    init.ensure(folder, GIVEN)
    return folder
