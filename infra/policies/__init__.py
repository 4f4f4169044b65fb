"""Who may do what on S3: one AWS policy document per component, with `$data`, `$runs` and `$published` for the buckets' names.

`python -m infra.policies --data my-dvc --runs my-mlflow --published my-boig` prints them with an account's own buckets. The local stack
gives the same documents to its S3 server, so what a test sees refused there is refused by the same words on AWS.

Under `buckets` it prints what AWS takes for each bucket: a bucket policy that refuses whoever comes without TLS, and a lifecycle. The local
stack has neither, since it speaks plain HTTP on the loopback.
"""

import json
from pathlib import Path
from string import Template

COMPONENTS = ("pipeline", "mlflow", "reader", "ray_worker")
"""`pipeline`: DVC and what runs publish. `mlflow`: the tracking server's artifacts. `reader`: a person who pulls and looks. `ray_worker`: a
node of Ray that shares no file system with the driver (`BOIG_HANDOVER=s3`, where `BOIG_S3_URL` is a bucket without a prefix)."""
FOLDER = Path(__file__).parent


def policy(component: str, buckets: dict[str, str]) -> dict:
    """The policy document of a component.

    Args:
        component: one of `COMPONENTS`.
        buckets: names of the buckets `data`, `runs` and `published`.
    """
    return json.loads(Template((FOLDER / f"{component}.json").read_text()).substitute(buckets))


def bucket_documents(role: str, buckets: dict[str, str]) -> dict:
    """`policy` and `lifecycle` of a bucket on AWS; where files are handed over between nodes, they end after a month.

    Args:
        role: `data`, `runs` or `published`.
        buckets: name of the bucket by role.
    """
    documents = json.loads(Template((FOLDER / "bucket.json").read_text()).substitute(bucket=buckets[role]))
    if role != "published":
        documents["lifecycle"]["Rules"] = [rule for rule in documents["lifecycle"]["Rules"] if rule["ID"] != "HandedOver"]
    return documents
