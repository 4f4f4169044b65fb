"""SeaweedFS as every stack of ours starts it: its options, the keys of its inside, and who may do what on its S3 port."""

import json
import sys
from pathlib import Path
from string import Template

from infra.policies import COMPONENTS, policy
from infra.stack.keys import Keys

OPTIONS = (
    *("-disableHttp", "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
    *("-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=0"),
    *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms", "-volume.preStopSeconds=1"),
)
"""Beside addresses and files. Filer and master speak gRPC alone, which wants a certificate; no door but S3's takes part in S3.
The one master does not wait long for others to vote: by default a server that was killed is back after 16 to 22 seconds, so after four.
Nor does it wait ten seconds before it stops for others to notice."""


def program() -> tuple[str, str]:
    """The server, which comes with the environment, and what has it log to whoever starts it alone: by itself it fills `/tmp` as well."""
    return str(Path(sys.executable).parent / "weed"), "-logtostderr"


def security(keys: Keys, tls: Path) -> str:
    """SeaweedFS's `security.toml`: volumes want signed tokens, all gRPC wants a certificate.

    Args:
        keys: of the stack.
        tls: the folder with `ca.pem`, `cert.pem` and `key.pem`, as the server sees it.
    """
    parts = "".join(
        f'[grpc.{name}]\ncert = "$tls/cert.pem"\nkey = "$tls/key.pem"\n' for name in ("volume", "master", "filer", "s3", "client")
    )
    text = (
        '[jwt.signing]\nkey = "$write"\n[jwt.signing.read]\nkey = "$write"\n'
        '[jwt.filer_signing]\nkey = "$filer"\n[jwt.filer_signing.read]\nkey = "$filer"\n'
        '[access]\nui = false\n[grpc]\nca = "$tls/ca.pem"\n'
    )
    return Template(text + parts).substitute(write=keys.weed_write, filer=keys.weed_filer, tls=tls)


def identities(keys: Keys, buckets: dict[str, str]) -> str:
    """SeaweedFS's `-s3.config`: each component has the policy of `infra/policies/`, and `admin`, which makes the buckets, may do all.

    Args:
        keys: of the stack.
        buckets: names of the buckets `data`, `runs` and `published`.
    """

    def identity(name: str, **rights: list) -> dict:
        user, secret = keys.s3[name]
        return {"name": name, "credentials": [{"accessKey": user, "secretKey": secret}], **rights}

    limited = [identity(name, policyNames=[name], actions=[]) for name in COMPONENTS]
    policies = [{"name": name, "content": json.dumps(policy(name, buckets))} for name in COMPONENTS]
    return json.dumps({"identities": [identity("admin", actions=["Admin"]), *limited], "policies": policies}, indent=1)
