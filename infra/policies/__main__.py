"""`python -m infra.policies`: the documents, as JSON."""

import json

import typer

from infra.policies import COMPONENTS, bucket_documents, policy


def main(data: str = "dvc", runs: str = "mlflow", published: str = "boig") -> None:
    """Print all policies by component, and what AWS takes for each bucket."""
    buckets = {"data": data, "runs": runs, "published": published}
    components = {component: policy(component, buckets) for component in COMPONENTS}
    print(json.dumps(components | {"buckets": {name: bucket_documents(role, buckets) for role, name in buckets.items()}}, indent=2))


if __name__ == "__main__":
    typer.run(main)
