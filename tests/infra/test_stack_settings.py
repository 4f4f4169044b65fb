"""A local stack before it starts: its ports, its settings, its keys."""

import json
import os
import socket
from pathlib import Path

import pytest
import yaml

from infra.stack import keys, services, settings
from tests.conftest import free_port
from tests.infra.stack import ROOT, run, write_settings


def test_taken_ports_are_told(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run(write_settings(tmp_path, mlflow=port), "up")
    assert done.returncode == 1
    assert done.stderr.strip().startswith(f"stack: ports are taken: {port} (mlflow) by pid {os.getpid()}")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ports": {"s3": 80}}, "ports.s3"),
        ({"ports": {"s3": 9000, "s3_filer": 19000}}, "given twice"),
        ({"ports": {"mlflow": 10210}}, "mlflow is among the ports of Ray's workers, 10018 to 10218; move it, or ray_inner"),
        ({"surprise": 1}, "surprise"),
        ({"buckets": {"data": 3}}, "buckets.data"),
    ],
)
def test_wrong_settings_are_one_line(change: dict, told: str, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "infra" / "stack.yaml").read_text())
    for name, value in change.items():
        content[name] = content[name] | value if isinstance(value, dict) else value
    (tmp_path / "stack.yaml").write_text(yaml.safe_dump(content))
    done = run(tmp_path / "stack.yaml", "status")
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_component_that_came_with_an_upgrade_gets_a_key_and_the_others_keep_theirs(tmp_path: Path) -> None:
    first = keys.ensure(tmp_path)
    path = tmp_path / keys.FILE
    path.write_text(json.dumps(dict(old := json.loads(path.read_text()), s3={k: v for k, v in old["s3"].items() if k != "ray_worker"})))
    now = keys.ensure(tmp_path)
    assert now == keys.ensure(tmp_path)
    assert now.s3["ray_worker"] != first.s3["ray_worker"]
    assert now.model_copy(update={"s3": first.s3}) == first
    assert path.stat().st_mode & 0o077 == 0


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    first = keys.ensure(tmp_path / "stack")
    assert keys.ensure(tmp_path / "stack") == first
    assert keys.ensure(tmp_path / "other").mlflow_password != first.mlflow_password
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "stack").rglob("*"))
    assert first.mlflow_password not in repr(first)
    (tmp_path / "stack" / keys.FILE).chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        keys.ensure(tmp_path / "stack")


def test_a_file_where_ray_is_to_find_its_sockets_is_told(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    link = services.ray_folder(settings.load(path))
    link.write_text("somebody's")
    try:
        done = run(path, "up")
    finally:
        link.unlink()
    assert done.returncode == 1
    assert done.stderr.strip() == f"stack: {link} is there, of user {os.getuid()}; remove it: Ray's sockets are to be found by it"


def test_of_ray_the_newest_sessions_logs_are_kept(tmp_path: Path) -> None:
    stack = settings.load(write_settings(tmp_path))
    for day in range(1, 6):
        for name in ("logs", "sockets"):
            (services.ray_logs(stack) / f"session_2026-11-0{day}_10-00-00_1_1" / name).mkdir(parents=True)
    services.clear_ray(stack)
    kept = sorted(path.relative_to(services.ray_logs(stack)).as_posix() for path in services.ray_logs(stack).glob("*/*"))
    assert kept == [f"session_2026-11-0{day}_10-00-00_1_1/logs" for day in (3, 4, 5)]
