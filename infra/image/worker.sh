#!/bin/bash
# What infra/prefect.yaml names, run on a cluster: Prefect's worker for it, and its deployment, on Ray's head. A stage runs on a node of its
# cluster, which a worker beside it is not.
#
# PREFECT_API_URL and PREFECT_API_AUTH_STRING come from the environment or from ~/.boig/environment, lines of NAME=value. The checkout is one
# for all commits, brought forward to the image's, so that champions and challengers stay in one history.
set -euo pipefail
if [ -f ~/.boig/environment ]; then
    set -a
    . ~/.boig/environment
    set +a
fi
: "${PREFECT_API_URL:?must name the Prefect server whose runs are for this cluster, https://prefect.example.org/api}"
: "${BOIG_S3_URL:?must name the store, s3://bucket/prefix: nothing else outlives the cluster}"
: "${MLFLOW_TRACKING_URI:?must name a server: workers of other nodes report to it too}"
unset OMP_NUM_THREADS # Ray's launcher and its job supervisor say 1; the driver may use the head's cores
export RAY_ADDRESS="${RAY_ADDRESS:-auto}" BOIG_WORK_POOL="${BOIG_WORK_POOL:-boig}" PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 DO_NOT_TRACK=1

app="${BOIG_APP:-/app}"
root="${BOIG_WORKSPACE:-/workspace}/project"
if [ ! -d "$root" ]; then
    draft="$(mktemp -d "$root.XXXXXX")"
    git clone --quiet "$app" "$draft"
    mkdir -p "$(dirname "$root")/cache"
    ln -s ../../cache "$draft/.dvc/cache" # the jobs' too
    mv -T "$draft" "$root" || { rm -rf "$draft"; [ -d "$root" ]; } # else another first job was faster
fi
cd "$root"
git fetch --quiet "$app" HEAD
git checkout --quiet --detach FETCH_HEAD

export PYTHONPATH="$root"
python -m boig.gcs
python -m infra.remote
python -m infra.deploy
exec python -m prefect worker start --pool="$BOIG_WORK_POOL" --type=process --name=head --with-healthcheck
