"""Point `dvc push` and `dvc pull` at the store that `BOIG_S3_URL` names: `python -m infra.remote`.

Written to `.dvc/config.local`, which is not committed. The endpoint (`AWS_ENDPOINT_URL`) and the keys are read from the
environment at each use.
"""

import configparser
import os
import sys
from pathlib import Path


def configure(url: str, root: Path = Path(".")) -> Path:
    """Make `<url>/dvc` the default remote; the file written.

    Raises:
        ValueError: not an S3 address.
    """
    if not url.startswith("s3://") or not url.removeprefix("s3://").strip("/"):
        raise ValueError(f"BOIG_S3_URL={url!r} must look like s3://bucket/prefix")
    path = root / ".dvc" / "config.local"
    config = configparser.ConfigParser()
    config.read(path)
    config.read_dict({"core": {"remote": "store"}, "'remote \"store\"'": {"url": f"{url.rstrip('/')}/dvc"}})
    with path.open("w") as stream:
        config.write(stream)
    return path


def configured(root: Path) -> bool:
    """Whether `dvc push` of this workspace has somewhere to go."""
    config = configparser.ConfigParser()
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    return config.has_option("core", "remote")


if __name__ == "__main__":
    try:
        print(f"remote written to {configure(os.environ.get('BOIG_S3_URL', ''))}")
    except ValueError as error:
        sys.exit(str(error))
