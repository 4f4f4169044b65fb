"""`make sbom`: reports/sbom.json, what the project is made of, as CycloneDX: packages with hashes and licenses, and models.

cyclonedx-py writes the packages from the lock files. Added to them are licenses, which only the installed packages tell, and the weights of
`base/` and of packages. Equal inputs give equal bytes: no serial number, no date.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from infra.supply import lock
from infra.supply.accepted import License, load
from infra.supply.licenses import declared
from infra.supply.models import Model, base_models, packaged_models

OUT = Path("reports/sbom.json")
TOOLS = Path(".tools/bin")
SPEC = "1.6"
"""Of CycloneDX."""
_VALIDATE = f"""
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.from_version("{SPEC}")).validate_str(sys.stdin.read())
sys.exit(str(error)[:300] if error else 0)
"""


def write(root: Path, tools: Path = TOOLS) -> Path:
    """Write the bill of materials of the project at `root`; where it is.

    Args:
        root: the project.
        tools: folder of `cyclonedx-py` and its Python.

    Raises:
        ValueError: what was made does not follow CycloneDX's schema.
        FileNotFoundError: the tools are not there.
    """
    known = load()
    pins = [pin.name for path in (lock.PROJECT, lock.CUDA) for pin in lock.read(root / path)]
    licenses = package_licenses(pins, known.licenses)
    models = [*base_models(root), *packaged_models(licenses, known.weights)]
    text = json.dumps(complete(_packages(root, tools), licenses, models), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    checked = subprocess.run([str(tools / "python"), "-c", _VALIDATE], input=text, capture_output=True, text=True, check=False)
    if checked.returncode:
        raise ValueError(f"the bill of materials does not follow CycloneDX {SPEC}: {checked.stderr.strip()}")
    (root / OUT).parent.mkdir(exist_ok=True)
    draft = (root / OUT).with_suffix(".draft")
    draft.write_text(text)
    os.replace(draft, root / OUT)
    return root / OUT


def package_licenses(packages: Iterable[str], accepted: Iterable[License]) -> dict[str, str]:
    """Package to license, of those that are installed: CUDA libraries are not on most machines."""
    known = {entry.package: entry.license for entry in accepted}
    found = {}
    for package in packages:
        try:
            found[package] = known.get(package) or declared(package)
        except PackageNotFoundError:
            continue
    return found


def complete(bill: dict, licenses: Mapping[str, str], models: Iterable[Model]) -> dict:
    """cyclonedx-py's bill with licenses and models.

    Its graph of dependencies is left out: a lock has none, and an empty one would say that no package needs another.
    """
    components = []
    for package in bill["components"]:
        told = {key: value for key, value in package.items() if key != "description"}  # the line of the lock once more
        license_ = licenses.get(package["name"])
        components.append(told | {"bom-ref": package["purl"]} | ({"licenses": [_license(license_)]} if license_ else {}))
    components += [_component(model) for model in models]
    rest = {key: value for key, value in bill.items() if key != "dependencies"}
    return rest | {"components": sorted(components, key=lambda component: component["bom-ref"])}


def _component(model: Model) -> dict:
    files = [
        {"type": "file", "name": path, "hashes": [{"alg": "SHA-256", "content": digest}], "bom-ref": f"weights:{path}"}
        for path, digest in model.weights.items()
    ]
    told = {"type": "machine-learning-model", "bom-ref": f"model:{model.name}", "name": model.name, "description": model.title}
    return told | ({"version": model.version} if model.version else {}) | {"licenses": [_license(model.license)], "components": files}


def _license(name: str) -> dict:
    return {"license": {"name": name}}


def _packages(root: Path, tools: Path) -> dict:
    """What cyclonedx-py makes of the lock files."""
    text = "".join((root / path).read_text() for path in (lock.PROJECT, lock.CUDA))
    options = ["--output-reproducible", "--no-validate", "--output-format", "JSON", "--spec-version", SPEC]
    source = ["--pyproject", str(root / "pyproject.toml"), "-"]
    command = [str(tools / "python"), "-W", "ignore", "-m", "cyclonedx_py", "requirements", *options, *source]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"cyclonedx-py failed: {(done.stderr.strip().splitlines() or ['no word'])[-1][:200]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    try:
        print(f"{write(Path.cwd())}: packages and models of the lock files")
    except (ValueError, FileNotFoundError, PackageNotFoundError) as error:
        sys.exit(f"make sbom: {error}")
