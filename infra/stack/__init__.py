"""The local stack: SeaweedFS, MLflow, Prefect and Ray under one supervisor, without docker. `make stack`, `make stack-stop`."""
