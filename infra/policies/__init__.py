"""Who may do what on S3: one AWS policy document per component, with `$data`, `$runs` and `$published` for the buckets' names.

`python -m infra.policies --data my-dvc --runs my-mlflow --published my-boig` prints them with an account's own buckets. The local stack
gives the same documents to its S3 server, so what a test sees refused there is refused by the same words on AWS.
"""

import json
from pathlib import Path
from string import Template

import typer

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


def main(data: str = "dvc", runs: str = "mlflow", published: str = "boig") -> None:
    """Print all policies, by component."""
    buckets = {"data": data, "runs": runs, "published": published}
    print(json.dumps({component: policy(component, buckets) for component in COMPONENTS}, indent=2))


if __name__ == "__main__":
    typer.run(main)
