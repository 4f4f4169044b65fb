"""What `python -m infra.policies` prints; what the documents refuse is tested where a server is, in test_stack.py and test_seaweedfs.py."""

import json
import subprocess
import sys
from pathlib import Path

from infra.policies import COMPONENTS, policy

ROOT = Path(__file__).parents[2]


def test_all_documents_are_printed_with_the_buckets_names():
    command = [sys.executable, "-m", "infra.policies", "--data=my-dvc", "--runs=my-mlflow", "--published=my-boig"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "$" not in text
    printed = json.loads(text)
    assert list(printed) == [*COMPONENTS, "buckets"]
    assert list(printed["buckets"]) == ["my-dvc", "my-mlflow", "my-boig"]
    for name, documents in printed["buckets"].items():
        [statement] = documents["policy"]["Statement"]
        assert statement["Resource"] == [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
        expired = [rule["Filter"]["Prefix"] for rule in documents["lifecycle"]["Rules"] if "Expiration" in rule]
        assert expired == (["handover/"] if name == "my-boig" else []), "nothing else may ever end by itself"


def test_components_have_no_statement_that_plain_http_on_the_loopback_would_break():
    buckets = {"data": "dvc", "runs": "mlflow", "published": "boig"}
    assert not [name for name in COMPONENTS if "SecureTransport" in json.dumps(policy(name, buckets))]
