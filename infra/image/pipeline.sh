#!/bin/bash
# The pipeline as a job on a cluster: [PROFILE=paper] [STAGE=train_boigllm] infra/image/pipeline.sh, on Ray's head.
#
# This is the driver. DVC and the flows run here, as processes of the head and never as Ray tasks; what is heavy goes from here to workers.
# The workspace is the head's, or with BOIG_HANDOVER=files on a volume that all nodes mount at the same path (flows/handover.py). Each commit
# of the image has a folder of its own there, in which a run that was cut off goes on. What must outlive the volume goes to S3: DVC's cache and run cache, also those of a run that fails, and what flows.repro publishes.
set -euo pipefail
: "${BOIG_S3_URL:?must name the store, s3://bucket/prefix: nothing else outlives the cluster}"
: "${MLFLOW_TRACKING_URI:?must name a server: workers of other nodes report to it too}"
unset OMP_NUM_THREADS # Ray's launcher and its job supervisor say 1; the driver may use the head's cores
export RAY_ADDRESS="${RAY_ADDRESS:-auto}"

app="${BOIG_APP:-/app}"
shared="${BOIG_WORKSPACE:-/workspace}"
root="$shared/$(git -C "$app" rev-parse --short=12 HEAD)"
if [ ! -d "$root" ]; then
    draft="$(mktemp -d "$root.XXXXXX")"
    git clone --quiet "$app" "$draft"
    mkdir -p "$shared/cache"
    ln -s ../../cache "$draft/.dvc/cache" # one DVC cache for all commits and profiles
    mv -T "$draft" "$root" || { rm -rf "$draft"; [ -d "$root" ]; } # else another first job was faster
fi
cd "$root"

python -m infra.remote
place="$root"
if [ -n "${PROFILE:-}" ]; then
    prepared='import sys; from pathlib import Path; from flows.workspace import prepare; print(prepare(Path.cwd(), sys.argv[1]))'
    place="$(python -c "$prepared" "$PROFILE")"
fi
(cd "$place" && dvc fetch --quiet --run-cache) # a stage whose result is there is restored, not run
status=0
python -m flows.repro ${PROFILE:+--profile "$PROFILE"} ${STAGE:+--stage "$STAGE"} || status=$?
(cd "$place" && dvc push --quiet --run-cache) || status=$((status ? status : 1))
exit "$status"
