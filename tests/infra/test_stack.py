"""The local stack, for real: started, used, killed part by part, stopped and started again."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from boig.store import Store, check
from infra import deploy, doctor
from infra.compose.prepare import Users
from infra.stack import health, keys, launch, services, settings, supervisor
from infra.stack.settings import Stack
from tests.infra import deployments, doors
from tests.infra.stack import ROOT, allowed, client, comes_back, computing, http, listening, run, write_settings, written


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings of a stack that runs."""
    path = write_settings(tmp_path_factory.mktemp("stack"))
    try:
        done = run(path, "up")
        assert done.returncode == 0, done.stderr[-2000:]
        yield path
    finally:
        run(path, "down")


@pytest.fixture(scope="module")
def stack(path: Path) -> Stack:
    return settings.load(path)


@pytest.fixture(scope="module")
def env(stack: Stack) -> dict[str, str]:
    return services.environment(stack, keys.ensure(stack.folder))


@pytest.mark.slow
class TestUp:
    def test_every_part_is_well_and_up_again_changes_nothing(self, path: Path, stack: Stack) -> None:
        before = {name: state["pid"] for name, state in supervisor.states(stack).items()}
        done = run(path, "up")
        assert done.returncode == 0, done.stderr
        assert {name: state["pid"] for name, state in supervisor.states(stack).items()} == before
        assert all(health.answers(part.health) for part in services.services(stack, keys.ensure(stack.folder)).values())

    def test_nothing_listens_but_on_the_loopback(self, stack: Stack) -> None:
        assert listening(stack)
        assert {address for address, _ in listening(stack)} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}

    def test_the_doctor_finds_nothing_broken(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(settings.SETTING, str(path))
        told = list(doctor.examine(ROOT, dict(os.environ)))
        assert not [str(finding) for finding in told if finding.broken]
        assert {"s3", "ray", "mlflow", "prefect", "worker", "disk", "packages"} <= {finding.what for finding in told}

    def test_it_writes_in_its_own_folder_alone(self, stack: Stack) -> None:
        files = written(stack)
        assert {"000001.log", "gcs_server.out"} <= {path.name for path in files}  # of SeaweedFS's filer, and of Ray
        assert not [path for path in files if not path.is_relative_to(stack.folder) and path.parts[:2] != ("/", "dev")]

    def test_no_secret_is_in_a_log_or_on_a_command_line(self, stack: Stack) -> None:
        found = keys.ensure(stack.folder)
        secret = [found.mlflow_password, found.prefect.split(":")[1], found.ray, found.weed_write, *(pair[1] for pair in found.s3.values())]
        logs = [path for path in stack.logs.rglob("*") if path.is_file() and not path.is_symlink()]
        assert {"ray.log", "gcs_server.out", "worker.log"} <= {log.name for log in logs}
        text = "".join(log.read_text(errors="replace") for log in logs)
        text += " ".join(word for name in services.services(stack, found) for p in launch.processes(stack, name) for word in p.cmdline())
        assert not [value[:4] for value in secret if value in text]

    @pytest.mark.parametrize("part", ["s3", "mlflow", "prefect", "worker", "ray"])
    def test_a_killed_part_comes_back(self, part: str, stack: Stack) -> None:
        before = supervisor.states(stack)[part]["pid"]
        assert before, "0 would be all that runs the tests"
        os.kill(before, signal.SIGKILL)
        comes_back(stack, part, before)

    @pytest.mark.parametrize("daemon", ["raylet", "gcs_server"])
    def test_a_head_that_lost_a_daemon_is_started_anew(self, daemon: str, stack: Stack) -> None:
        before = supervisor.states(stack)["ray"]["pid"]
        (killed,) = (process for process in launch.processes(stack, "ray") if process.name() == daemon)
        killed.kill()
        comes_back(stack, "ray", before)
        assert "has ended" in (stack.logs / "ray.log").read_text()


@pytest.mark.slow
class TestDoors:
    """Every port refuses a write of whoever has no key."""

    def test_http(self, stack: Stack) -> None:
        let_in = []
        for port in {port for _, port in listening(stack)}:
            for method, path in doors.WRITES:
                if method == "GET" and port not in (stack.ports.s3_master, stack.ports.s3_filer, stack.ports.s3_volume):
                    continue  # elsewhere a GET writes nothing: Ray's pages of metrics answer to any path
                status = http(port, method, path)
                if 200 <= status < 300:
                    let_in.append((port, method, path, status))
        assert not let_in

    def test_whatever_does_not_speak_http(self, stack: Stack, env: dict[str, str]) -> None:
        ports = stack.ports.all()
        certificate = {ports[f"{name}_grpc"]: doors.CERTIFICATE for name in ("s3", "s3_master", "s3_filer", "s3_volume")}
        token = {ports[name]: doors.TOKEN for name in ("ray", "ray_client", "ray_inner_0", "ray_inner_1", "ray_inner_2")}
        with computing(env):
            found = doors.refusals(stack)
        others = [how for port, how in found.items() if port not in certificate | token]
        assert found.items() >= (certificate | token).items()
        assert set(others) == {doors.ATTEMPT, doors.TOKEN}  # of the worker for its flow runs, and of the actor
        assert "rejected unauthenticated connection" in (stack.logs / "worker.log").read_text()

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [({}, "✓ ray"), ({"RAY_AUTH_TOKEN": "0" * 64}, "✗ ray"), ({"RAY_ADDRESS": "ray://127.0.0.1:10001"}, "✗ ray")],
    )
    def test_the_doctor_looks_at_the_cluster_that_the_environment_names(
        self, wrong: dict[str, str], told: str, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        none = settings.load(settings.DEFAULT).model_copy(update={"folder": tmp_path})
        monkeypatch.setattr(doctor, "load", lambda: none)
        found = [str(finding) for finding in doctor.examine(ROOT, {**os.environ, **env, **wrong})]
        (line,) = [line for line in found if line.split()[1] == "ray"]
        assert line.startswith(told)
        assert (" → " in line) == bool(wrong)

    def test_s3_with_wrong_keys(self, stack: Stack, env: dict[str, str]) -> None:
        with pytest.raises(ConnectionError, match=r"SignatureDoesNotMatch|AccessDenied|Forbidden"):
            check(env["BOIG_S3_URL"], env | {"AWS_SECRET_ACCESS_KEY": "wrong"})  # pragma: allowlist secret

    @pytest.mark.parametrize(
        ("component", "bucket", "may"),
        [
            ("pipeline", "dvc", {"put", "get", "list"}),
            ("pipeline", "boig", {"put", "get", "list"}),
            ("pipeline", "mlflow", set()),
            ("mlflow", "mlflow", {"put", "get", "list", "delete"}),
            ("mlflow", "dvc", set()),
            ("reader", "dvc", {"get", "list"}),
            ("reader", "boig", {"get", "list"}),
            ("reader", "mlflow", set()),
            ("ray_worker", "boig", set()),
            ("ray_worker", "dvc", set()),
        ],
    )
    def test_each_component_may_do_its_own_and_no_more(self, component: str, bucket: str, may: set[str], stack: Stack) -> None:
        found = keys.ensure(stack.folder)
        ours, admin = (client(stack, *found.s3[name]) for name in (component, "admin"))
        admin.put_object(Bucket=bucket, Key="probe", Body=b"x")
        asked = {
            "put": lambda: ours.put_object(Bucket=bucket, Key="other", Body=b"x"),
            "get": lambda: ours.get_object(Bucket=bucket, Key="probe"),
            "list": lambda: ours.list_objects_v2(Bucket=bucket),
            "delete": lambda: ours.delete_object(Bucket=bucket, Key="probe"),
            "drop": lambda: ours.delete_bucket(Bucket=bucket),
        }
        assert {name for name, call in asked.items() if allowed(call)} == may

    def test_a_ray_worker_may_hand_over_and_no_more(self, stack: Stack) -> None:
        found = keys.ensure(stack.folder)
        ours, admin = (client(stack, *found.s3[name]) for name in ("ray_worker", "admin"))
        admin.put_object(Bucket="boig", Key="runs/probe", Body=b"x")
        asked = {
            "put": lambda: ours.put_object(Bucket="boig", Key="handover/probe", Body=b"x"),
            "put once": lambda: ours.put_object(Bucket="boig", Key=f"handover/{secrets.token_hex(4)}", Body=b"x", IfNoneMatch="*"),
            "get": lambda: ours.get_object(Bucket="boig", Key="handover/probe"),
            "list": lambda: ours.list_objects_v2(Bucket="boig", Prefix="handover/20261127/log/"),
            "delete": lambda: ours.delete_object(Bucket="boig", Key="handover/probe"),
            "list runs": lambda: ours.list_objects_v2(Bucket="boig", Prefix="runs/"),
            "get a run": lambda: ours.get_object(Bucket="boig", Key="runs/probe"),
        }
        assert {name for name, call in asked.items() if allowed(call)} == {"put", "put once", "get", "list"}

    @pytest.mark.parametrize(
        ("port", "write", "request_"),
        [
            ("s3_master", "master_pb.Seaweed/Assign", b""),
            ("s3_volume", "volume_server_pb.VolumeServer/VolumeDelete", b""),
            ("s3_filer", "filer_pb.SeaweedFiler/KvPut", b"\n\x01k\x12\x01v"),
            ("s3", "messaging_pb.SeaweedS3IamCache/PutIdentity", b""),
        ],
    )
    def test_seaweedfs_without_its_certificate(self, port: str, write: str, request_: bytes, stack: Stack) -> None:
        """The same call is answered, if only to say no to what it asks, where the certificate is shown."""
        plain, tls, shown = doors.seaweedfs_answers(stack.ports.all()[f"{port}_grpc"], stack.folder / "tls", write, request_)
        assert plain is tls is grpc.StatusCode.UNAVAILABLE
        assert shown not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED)

    def test_ray_with_its_token(self, stack: Stack) -> None:
        login = (("authorization", f"Bearer {keys.ensure(stack.folder).ray}"),)
        with grpc.insecure_channel(f"127.0.0.1:{stack.ports.ray}") as channel:
            assert channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")(b"", timeout=20, metadata=login)


@pytest.mark.slow
def test_users_are_made_and_their_passwords_follow(stack: Stack) -> None:
    """What the server's `prepare` does, against a real MLflow."""
    found = keys.ensure(stack.folder)
    admin = Users(stack.url("mlflow"), found.mlflow_user, found.mlflow_password)
    assert admin.let_in()
    for password in ("the-first-password", "the-second-password"):
        admin.ensure("someone", password)
        assert Users(admin.address, "someone", password).let_in()
    assert not Users(admin.address, "someone", "the-first-password").let_in()
    Users(admin.address, "someone", "the-third-password").set_own_password(before="the-second-password")
    assert Users(admin.address, "someone", "the-third-password").let_in()
    with pytest.raises(ConnectionError, match="refuses a new password for someone"):
        Users(admin.address, "someone", "the-fourth-password").set_own_password(before="a-wrong-password")
    assert "password" not in repr(admin)


@pytest.mark.slow
def test_dvc_pushes_to_the_stack_by_the_environment_alone(stack: Stack, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("kept")
    commands = ("git init --quiet", "dvc init --quiet", "dvc add --quiet a", "dvc push --quiet", "rm -r a .dvc/cache", "dvc pull --quiet")
    for command in commands:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command.split(), cwd=tmp_path, env=os.environ | env | {"PATH": path}, check=True)
    assert (tmp_path / "a").read_text() == "kept"
    reader = client(stack, *keys.ensure(stack.folder).s3["reader"])
    assert reader.list_objects_v2(Bucket=stack.buckets.data, Prefix="files/md5/").get("Contents")


@pytest.mark.slow
def test_a_restart_of_all_loses_nothing(path: Path, stack: Stack, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    store = Store.from_url(env["BOIG_S3_URL"])
    assert store.put_once("kept", {"n": 1})
    before = keys.ensure(stack.folder)
    assert run(path, "down").returncode == 0
    assert not [process for name in services.services(stack, before) for process in launch.processes(stack, name)]
    assert not services.ray_folder(stack).is_symlink()
    sessions = sorted((stack.logs / "ray").glob("session_2*"))
    assert [[path.name for path in session.iterdir()] for session in sessions] == [["logs"]] * len(sessions)
    assert 1 <= len(sessions) <= services.SESSIONS
    assert (sessions[-1] / "logs" / "gcs_server.out").is_file()
    assert run(path, "up").returncode == 0
    assert keys.ensure(stack.folder) == before
    assert not store.put_once("kept", {"n": 2})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Path:
    """A clone of the commit, deployed twice. What runs there is started by tests: by the clock it would come between them."""
    folder = tmp_path_factory.mktemp("deployed") / "project"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(folder)], check=True)
    for _ in range(2):
        done = deployments.deploy(folder, env)
        assert done.returncode == 0, done.stderr
    assert "retrain" in done.stdout
    for one in deployments.ask(env, "/deployments/filter"):
        deployments.ask(env, f"/deployments/{one['id']}/pause_deployment")
    return folder


@pytest.mark.slow
class TestDeployments:
    def test_what_runs_by_itself_is_there_once(self, checkout: Path, env: dict[str, str]) -> None:
        found = {one["name"]: one for one in deployments.ask(env, "/deployments/filter")}
        assert set(found) == {"retrain", "land", "janitor"}
        assert all(one["schedules"] for one in found.values())
        assert found["retrain"]["global_concurrency_limit"]["limit"] == 1
        automations = [one["name"] for one in deployments.ask(env, "/automations/filter")]
        assert automations.count(deploy.ZOMBIES) == 1
        assert sum(name.startswith("retrain") for name in automations) == 1, automations

    def test_the_worker_runs_the_janitor(self, checkout: Path, env: dict[str, str]) -> None:
        run = deployments.started(env, "janitor")
        assert (run["state_type"], run["state"]["message"]) == ("COMPLETED", "runs that never started: 0; worktrees: 0")

    def test_news_of_posts_start_a_retraining_that_says_what_is_wrong(self, checkout: Path, env: dict[str, str]) -> None:
        emit = "from flows.ingest import announce; assert not announce(100, 50, 'x'); assert announce(150, 50, 'x')"
        subprocess.run([sys.executable, "-c", emit], cwd=checkout, env=os.environ | env | {"PYTHONPATH": str(checkout)}, check=True)
        run = deployments.ended(env, {"deployment_id": {"any_": [deployments.deployment(env, "retrain")]}})
        assert run["state_type"] == "FAILED"
        assert "retraining on data/feed, which stage simulate makes and which does not grow" in run["state"]["message"]

    def test_a_checkout_that_moved_on_is_told(self, checkout: Path, env: dict[str, str]) -> None:
        commit = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--allow-empty", "-m", "x"]
        subprocess.run(commit, cwd=checkout, check=True)
        run = deployments.started(env, "land")
        assert run["state_type"] == "FAILED"
        assert "this deployment is of commit" in run["state"]["message"]
        assert "run `make deploy` there" in run["state"]["message"]

    def test_uncommitted_changes_and_a_missing_server_are_told(self, checkout: Path, env: dict[str, str]) -> None:
        (checkout / "params.yaml").write_text("changed")
        assert "commit them first" in deployments.deploy(checkout, env).stderr
        without = deployments.deploy(checkout, env | {"PREFECT_API_URL": ""})
        assert without.stderr.strip() == "deploy: PREFECT_API_URL is not set; start the stack (`make stack`) and `. .stack/env`"
