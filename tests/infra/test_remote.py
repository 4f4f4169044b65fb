"""One setting points DVC at a store."""

import configparser
from pathlib import Path

import pytest

from infra.remote import address, configure, configured, main


def test_the_remote_is_written_beside_other_local_settings(tmp_path: Path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\ndir = elsewhere\n")
    assert not configured(tmp_path)
    configure("s3://bucket/team/dvc", tmp_path)
    configure("s3://bucket/other/dvc", tmp_path)
    assert configured(tmp_path)
    config = configparser.ConfigParser()
    config.read(tmp_path / ".dvc" / "config.local")
    assert config["cache"]["dir"] == "elsewhere"
    assert config["core"]["remote"] == "store"
    assert dict(config["'remote \"store\"'"]) == {"url": "s3://bucket/other/dvc", "verify": "true"}


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, ""),
        ({"BOIG_S3_URL": "s3://bucket/team/"}, "s3://bucket/team/dvc"),
        ({"BOIG_S3_URL": "s3://bucket/team", "BOIG_DVC_URL": "s3://data/"}, "s3://data"),
    ],
)
def test_a_bucket_of_its_own_goes_before_a_prefix_of_the_other(env: dict[str, str], url: str):
    assert address(env) == url


@pytest.mark.parametrize("url", ["bucket/x", "https://bucket", "s3://"])
@pytest.mark.parametrize("name", ["BOIG_S3_URL", "BOIG_DVC_URL"])
def test_another_address_is_refused(name: str, url: str):
    with pytest.raises(ValueError, match=f"{name}=.* must look like s3://bucket/prefix"):
        address({name: url})


def test_nothing_named_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    for name in ("BOIG_S3_URL", "BOIG_DVC_URL"):
        monkeypatch.delenv(name, raising=False)
    assert main() == 1
    assert capsys.readouterr().err.strip() == "remote: neither BOIG_DVC_URL nor BOIG_S3_URL is set; name the store, s3://bucket/prefix"
