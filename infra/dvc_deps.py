"""Write each stage's first-party import closure into the deps of dvc.yaml: `python -m infra.dvc_deps` (or `make deps`).

Too few code deps mean stale results, too many needless retraining. Data deps, comments and order are left as they are.
"""

from pathlib import Path

from ruamel.yaml import YAML

from infra.closure import closure


def code_deps(stage: str, root: Path = Path(".")) -> list[str]:
    """The .py files that a stage runs, sorted."""
    return [path.as_posix() for path in closure(Path("flows") / f"{stage}.py", root)]


def rewrite(root: Path = Path(".")) -> list[str]:
    """Bring dvc.yaml in line; the names of the stages that changed.

    Raises:
        FileNotFoundError: no dvc.yaml, or a stage without its flow.
    """
    path = root / "dvc.yaml"
    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(path.read_text())
    changed = []
    for name, stage in document["stages"].items():
        exact = code_deps(name, root)
        data = [dep for dep in stage["deps"] if not dep.endswith(".py")]
        if [*data, *exact] != list(stage["deps"]):
            changed.append(name)
            stage["deps"].clear()
            stage["deps"].fa.set_block_style()
            stage["deps"].extend([*data, *exact])
    if changed:
        with path.open("w") as stream:
            yaml.dump(document, stream)
    return changed


if __name__ == "__main__":
    stages = rewrite()
    print(f"dvc.yaml: code deps written for {', '.join(stages)}" if stages else "dvc.yaml: code deps are exact")
