"""The rules of ARCHITECTURE.md that a machine can keep."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from boig.contracts import CONTRACTS
from boig.params import SECTIONS
from infra.closure import closure, modules
from infra.dvc_deps import code_deps
from infra.supply.lock import LOCKS

ROOT = Path(__file__).parents[1]
LAYERS = {
    "boig": {"boig"},
    "tasks": {"boig", "tasks"},
    "flows": {"boig", "tasks", "flows", "infra"},
    "base": {"boig", "base"},
    "infra": {"boig", "infra"},
}
"""What each folder may import of the project."""
DOORS = {
    "prefect": ("flows/", "infra/"),
    "dvc": ("flows/", "infra/"),
    "ray": ("flows/", "infra/", "boig/cluster.py", "boig/gcs.py"),
    "mlflow": ("boig/tracking.py", "boig/tracking_store.py", "boig/registry.py"),
    "boto3": ("boig/store.py",),
    "botocore": ("boig/store.py",),
    "s3fs": ("boig/store.py",),
}
"""Where the orchestrators and clients may be imported."""
KNOWS_THE_LAW = {"simulate", "evaluate"}
LAW = {Path("boig/simulator/law.py"), Path("boig/simulator/truth.py")}
LONGER_MODULES: dict[str, str] = {}
"""Modules of more than 300 lines, with the reason."""
LONGER_FUNCTIONS: dict[str, str] = {}
"""Functions of more than 40 lines (`path:name`), with the reason."""


def sources(*folders: str) -> list[Path]:
    """Source files of the project, relative to the root."""
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


CODE = sources(*LAYERS)


@pytest.mark.parametrize("path", CODE, ids=str)
def test_imports_go_one_way(path: Path):
    layer = path.parts[0]
    wrong = [name for name in modules(ROOT / path, path) if name.split(".")[0] in LAYERS and name.split(".")[0] not in LAYERS[layer]]
    assert not wrong, f"{path} imports {wrong}; {layer}/ may import {sorted(LAYERS[layer])}"


@pytest.mark.parametrize("path", sources("tasks"), ids=str)
def test_a_task_does_not_import_another_stage(path: Path):
    stage = path.with_suffix("").parts[1]
    wrong = [name for name in modules(ROOT / path, path) if name.startswith("tasks.") and name.split(".")[1] != stage]
    assert not wrong, f"{path} imports {wrong}; what two stages share belongs in boig/"


@pytest.mark.parametrize("path", CODE, ids=str)
def test_orchestrators_stay_outside(path: Path):
    wrong = [name for name in modules(ROOT / path, path) if not path.as_posix().startswith(DOORS.get(name.split(".")[0], ("",)))]
    assert not wrong, f"{path} imports {wrong}; see DOORS in this test"


@pytest.mark.parametrize("stage", SECTIONS)
def test_a_stage_is_in_its_four_places(stage: str):
    assert (ROOT / "flows" / f"{stage}.py").is_file()
    assert (ROOT / "tasks" / f"{stage}.py").is_file() or (ROOT / "tasks" / stage / "__init__.py").is_file()
    assert stage in yaml.safe_load((ROOT / "params.yaml").read_text())
    assert list((ROOT / "tests" / "tasks").glob(f"test_{stage}*.py"))
    assert Path(f"boig/sections/{stage}.py") in closure(Path(f"flows/{stage}.py"), ROOT)


def test_sections_and_stages_are_the_same():
    dag = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(dag) == list(SECTIONS) == list(yaml.safe_load((ROOT / "params.yaml").read_text()))


@pytest.mark.parametrize("stage", SECTIONS)
def test_dvc_runs_the_flow_on_its_own_section_and_its_exact_code(stage: str):
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    assert declared["cmd"] == f"python -m flows.{stage}"
    assert declared["params"] == [stage]
    assert declared["metrics"] == [{f"metrics/{stage}.json": {"cache": False}}]
    assert [dep for dep in declared["deps"] if dep.endswith(".py")] == code_deps(stage, ROOT), "run `make deps`"


@pytest.mark.parametrize("stage", [stage for stage in SECTIONS if stage not in KNOWS_THE_LAW])
def test_the_law_is_out_of_reach(stage: str):
    assert not LAW & set(closure(Path(f"flows/{stage}.py"), ROOT))


def test_the_law_is_where_this_test_looks_for_it():
    assert all((ROOT / path).is_file() for path in LAW)
    for stage in KNOWS_THE_LAW:
        assert set(closure(Path(f"flows/{stage}.py"), ROOT)) >= LAW


def test_no_recipe_of_a_base_model_sees_a_like():
    for path in sources("base"):
        assert not LAW & set(closure(path, ROOT)), path


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_contracts_say_what_each_column_holds(contract):
    assert contract.path.endswith(".parquet")
    for column in contract.columns:
        assert column.doc, f"{contract.name}.{column.name} has no doc"
        if str(column.type) in {"double", "float", "int32", "int64"}:
            assert any(unit in column.doc for unit in ("0–1", "0–100", "px", "own unit", "seconds", "count", "likes", "log1p")), (
                f"{contract.name}.{column.name} has no unit"
            )


@pytest.mark.parametrize("path", CODE, ids=str)
def test_modules_and_functions_stay_small(path: Path):
    text = (ROOT / path).read_text()
    assert len(text.splitlines()) <= 300 or path.as_posix() in LONGER_MODULES, f"{path} has {len(text.splitlines())} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)
            assert lines <= 40 or f"{path.as_posix()}:{node.name}" in LONGER_FUNCTIONS, (
                f"{path}:{node.lineno} {node.name} has {lines} lines"
            )


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """A long explanation is no long function."""
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0


@pytest.mark.parametrize("path", CODE, ids=str)
def test_modules_and_public_names_are_explained(path: Path):
    tree = ast.parse((ROOT / path).read_text())
    assert ast.get_docstring(tree) or not tree.body, f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and node.name != "main":
            tells_all = isinstance(node, ast.FunctionDef) and len(node.body) <= 3  # a name and three statements need no sentence
            assert tells_all or ast.get_docstring(node), f"{path}: {node.name} has no docstring"


@pytest.mark.parametrize("path", CODE, ids=str)
def test_importing_calls_nothing(path: Path):
    """At module level nothing is called for its effect; but the commands set what imports read, and what they cost."""
    for node in ast.parse((ROOT / path).read_text()).body:
        if path == Path("flows/__init__.py") and ast.unparse(node).partition("(")[0] in ("hush", "gc.set_threshold"):
            continue
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            pytest.fail(f"{path}:{node.lineno} does something on import: {ast.unparse(node)[:80]}")
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try):
            pytest.fail(f"{path}:{node.lineno} runs a {type(node).__name__} on import")


@pytest.mark.slow
def test_importing_leaves_no_trace(tmp_path: Path):
    """No file, no seed, no MLflow store, no Ray: with all modules imported in an empty folder."""
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in sources("boig", "tasks", "flows", "infra")]
    script = f"""
import importlib, os, random, sys
import numpy as np
import torch
seeded = []
def watch(owner, name):
    original = getattr(owner, name)
    def seen(*args, **kwargs):
        seeded.append(sys._getframe(1).f_code.co_filename)
        return original(*args, **kwargs)
    setattr(owner, name, seen)
for owner, name in ((random, "seed"), (np.random, "seed"), (torch, "manual_seed")):
    watch(owner, name)
for name in {names!r}:
    importlib.import_module(name)
ours = [file for file in seeded if file.startswith({str(ROOT)!r}) and "/.venv/" not in file]
assert not ours, f"seeded on import: {{ours}}"
assert os.listdir(".") == [], os.listdir(".")
import ray
assert not ray.is_initialized()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", CODE, ids=str)
def test_names_that_say_nothing(path: Path):
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", LOCKS, ids=str)
def test_nothing_of_a_machine_is_committed(path: Path):
    """No local version, host or folder in a lock."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if "/" in line or " @ " in line or re.search(r"==\S*\+", line)]
