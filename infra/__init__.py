"""Tools around the pipeline: code dependencies of dvc.yaml, local stack, clusters, policies."""
