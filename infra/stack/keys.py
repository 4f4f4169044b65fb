"""The stack's secrets: made once, at its first start, for its owner's eyes alone. Nothing of them is printed or put on a command line."""

import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from infra.policies import COMPONENTS

FILE = "keys.json"


class Keys(BaseModel):
    """Passwords and tokens of one stack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    s3: dict[str, tuple[str, str]]
    """Component to S3 key and secret; what each may do is in `infra/policies/`."""
    mlflow_user: str
    mlflow_password: str
    mlflow_session: str
    """Signs MLflow's cookies."""
    prefect: str
    """`user:password`."""
    ray: str
    weed_write: str
    """Signs SeaweedFS's tokens for its volumes."""
    weed_filer: str

    def __repr__(self) -> str:
        return "Keys(…)"


def ensure(folder: Path) -> Keys:
    """The keys of the stack in `folder`, made there if it has none yet: `keys.json` and, under `tls/`, certificates.

    Raises:
        PermissionError: somebody else could read them.
        ValueError: the file is damaged.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / FILE
    if not path.is_file():
        _certificates(folder / "tls")
        keys = made()
        write_private(path, keys.model_dump_json(indent=1))  # last: with it, all of them are there
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} can be read by others; `chmod 600 {path}`")
    try:
        keys = Keys.model_validate_json(path.read_text())
    except ValueError:
        raise ValueError(f"{path} is damaged; restore it, or move {folder} away to start anew") from None
    if new := {name: pair for name, pair in made().s3.items() if name not in keys.s3}:  # of components that came with an upgrade
        keys = keys.model_copy(update={"s3": keys.s3 | new})
        write_private(path, keys.model_dump_json(indent=1))
    return keys


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all at once."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    os.replace(temporary, path)


def made() -> Keys:
    """New keys, for nobody yet."""
    return Keys(
        s3={name: (f"{name}-{secrets.token_hex(6)}", secrets.token_hex(20)) for name in ("admin", *COMPONENTS)},
        mlflow_user="admin",
        mlflow_password=secrets.token_urlsafe(24),
        mlflow_session=secrets.token_hex(32),
        prefect=f"boig:{secrets.token_urlsafe(24)}",
        ray=secrets.token_hex(32),
        weed_write=secrets.token_hex(32),
        weed_filer=secrets.token_hex(32),
    )


def _certificates(folder: Path) -> None:
    """An authority and one certificate, for the gRPC inside of SeaweedFS. The authority's own key is forgotten: it signs nothing more."""
    import trustme  # once in a stack's life

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost", common_name="boig-stack")
    write_private(folder / "ca.pem", authority.cert_pem.bytes().decode())
    write_private(folder / "key.pem", issued.private_key_pem.bytes().decode())
    write_private(folder / "cert.pem", "".join(part.bytes().decode() for part in issued.cert_chain_pems))
