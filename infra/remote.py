"""Point `dvc push` and `dvc pull` at the store: `python -m infra.remote`.

The store is `BOIG_DVC_URL`, or else `dvc` under what `BOIG_S3_URL` names. Written to `.dvc/config.local`, which is not committed. The
endpoint (`AWS_ENDPOINT_URL`) and the keys are read from the environment at each use.
"""

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def address(env: Mapping[str, str]) -> str:
    """The remote that an environment names; empty where it names none.

    Raises:
        ValueError: not an S3 address.
    """
    name, url = next(((name, env[name]) for name in ("BOIG_DVC_URL", "BOIG_S3_URL") if env.get(name)), ("", ""))
    if not name:
        return ""
    if not url.startswith("s3://") or not url.removeprefix("s3://").strip("/"):
        raise ValueError(f"{name}={url!r} must look like s3://bucket/prefix")
    return url.rstrip("/") + ("" if name == "BOIG_DVC_URL" else "/dvc")


def configure(url: str, root: Path = Path(".")) -> Path:
    """Make an address the default remote of a workspace; the file written."""
    return write(url, root / ".dvc" / "config.local")


def write(url: str, path: Path) -> Path:
    """Make an address the default remote in a file of DVC's settings; the file.

    DVC compares what it pulls with its hash (`verify`): by default it takes whatever bytes lie under the right name.
    """
    config = configparser.ConfigParser()
    config.read(path)
    config.read_dict({"core": {"remote": "store"}, "'remote \"store\"'": {"url": url, "verify": "true"}})
    with path.open("w") as stream:
        config.write(stream)
    return path


def configured(root: Path) -> bool:
    """Whether `dvc push` of this workspace has somewhere to go."""
    config = configparser.ConfigParser()
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    return config.has_option("core", "remote")


def main() -> int:
    """Write the remote of this process's environment; the exit code."""
    try:
        url = address(os.environ)
        if not url:
            raise ValueError("neither BOIG_DVC_URL nor BOIG_S3_URL is set; name the store, s3://bucket/prefix")
    except ValueError as error:
        print(f"remote: {error}", file=sys.stderr)
        return 1
    print(f"remote: {url}, written to {configure(url)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
