"""One setting points DVC at a store."""

import configparser
from pathlib import Path

import pytest

from infra.remote import configure


def test_the_remote_is_written_beside_other_local_settings(tmp_path: Path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\ndir = elsewhere\n")
    configure("s3://bucket/team/", tmp_path)
    configure("s3://bucket/other", tmp_path)
    config = configparser.ConfigParser()
    config.read(tmp_path / ".dvc" / "config.local")
    assert config["cache"]["dir"] == "elsewhere"
    assert config["core"]["remote"] == "store"
    assert config["'remote \"store\"'"]["url"] == "s3://bucket/other/dvc"


@pytest.mark.parametrize("url", ["", "bucket/x", "https://bucket", "s3://"])
def test_another_address_is_refused(url: str, tmp_path: Path):
    with pytest.raises(ValueError, match="must look like s3://bucket/prefix"):
        configure(url, tmp_path)
