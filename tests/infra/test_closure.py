"""The import closure, on a small project."""

from pathlib import Path

import pytest

from infra.closure import closure


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "flows/__init__.py": '"""Docs only."""\n',
        "flows/a.py": "import os\nfrom boig import one\n\ndef lazy():\n    from tasks.work import go\n    import boig.deep.two\n",
        "boig/__init__.py": "",
        "boig/one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from boig import never\n",
        "boig/never.py": "",
        "boig/deep/__init__.py": "RUNS = 1\n",
        "boig/deep/two.py": "from . import three\nfrom .three import NAME\n",
        "boig/deep/three.py": "NAME = 1\n",
        "tasks/work.py": "import boig.one as first\nfrom boig.deep.three import NAME as name\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_lazy_relative_and_aliased_imports_count_and_type_checking_ones_do_not(root: Path):
    found = [path.as_posix() for path in closure(Path("flows/a.py"), root)]
    assert found == ["boig/deep/__init__.py", "boig/deep/three.py", "boig/deep/two.py", "boig/one.py", "flows/a.py", "tasks/work.py"]


@pytest.mark.parametrize(
    "hop",
    [
        "from boig.simulator import law\n",
        "import boig.simulator.law as hidden\n",
        "def lazy():\n    from boig.simulator.law import Law\n",
        "from importlib import import_module\nlaw = import_module('boig.simulator.law')\n",
        "import importlib\ndef lazy():\n    return importlib.import_module('boig.simulator.law').Law\n",
        "law = __import__('boig.simulator.law')\n",
    ],
)
def test_no_way_to_the_law_is_missed(root: Path, hop: str):
    """Two hops from a flow, however the last one is written; this is what keeps the simulator's law out of training."""
    (root / "boig" / "simulator").mkdir()
    (root / "boig" / "simulator" / "law.py").write_text("class Law: ...\n")
    assert Path("boig/simulator/law.py") not in closure(Path("flows/a.py"), root)
    (root / "boig" / "deep" / "three.py").write_text(f"NAME = 1\n{hop}")
    assert Path("boig/simulator/law.py") in closure(Path("flows/a.py"), root)
    assert Path("boig/simulator/law.py") not in closure(Path("boig/one.py"), root)


def test_a_module_that_is_not_there_is_named(root: Path):
    (root / "flows" / "a.py").write_text("from boig.gone import x\nfrom boig.gone.further import y\n")
    with pytest.raises(ValueError, match=r"flows/a\.py: imports boig\.gone"):
        closure(Path("flows/a.py"), root)
