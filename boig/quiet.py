"""What libraries are told by the environment, so that a stage prints its own words. Nothing imported: they read it on import."""

import os

QUIET = {
    "DO_NOT_TRACK": "1",  # nobody is told what is run here
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # keep CUDA_VISIBLE_DEVICES as it is for workers that ask for no GPU
    "RAY_memory_monitor_refresh_ms": "0",  # the pipeline's peak is bounded by its parameters; no worker is killed on a guess
    "RAY_prestart_worker_first_driver": "0",  # a worker takes seconds of a core to start: none on a guess
    "RAY_enable_worker_prestart": "0",
    "RAY_DEDUP_LOGS": "1",
    # Ray Train's watchdog asks a dashboard that a local Ray has not, every second; its preemption watcher is warned of itself.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "Failed to query Ray Train Controller actor state|has constructor arguments in the object store",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it sends what a worker prints to a logger too, which prints it once more
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # else 180, and a run that is silent for 120 is taken for dead (infra/deploy.py)
    "TRANSFORMERS_VERBOSITY": "error",  # else each worker says which of its image processors miss torchvision
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # one per worker and model
}


def hush() -> None:
    """Set each of `QUIET` that the user has not set."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
