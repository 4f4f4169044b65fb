"""The cluster's files: Ray's and KubeRay's schemas, EC2's API, what stages ask for, no secrets, no open doors, one lock file."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from pydantic import ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from boig.cluster import SPARE_CPUS
from boig.params import SECTIONS, read
from flows import workspace
from flows.handover import SETTING
from tests.infra.kuberay import PersistentVolumeClaim, RayCluster, RayJob

ROOT = Path(__file__).parents[2]
IMAGE, AWS, KUBERAY = (ROOT / "infra" / name for name in ("image", "ray", "kuberay"))
DOCKERFILE = re.sub(r"\\\n\s*", "", (IMAGE / "Dockerfile").read_text())
"""With a line per instruction."""
FILES = [*IMAGE.iterdir(), *AWS.iterdir(), *KUBERAY.iterdir(), ROOT / ".dockerignore"]


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def aws() -> dict:
    """As `ray up` prepares it."""
    return prepare_config(load(AWS / "cluster.yaml"))


def kuberay() -> dict:
    """As Ray's autoscaler reads the RayCluster."""
    cluster = load(KUBERAY / "raycluster.yaml")
    cluster["metadata"]["namespace"] = "default"
    return _derive_autoscaling_config_from_ray_cr(cluster)


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.M)


def user_and_home() -> tuple[int, str]:
    environment = dict(pair.split("=", 1) for pair in shlex.split(instructions("ENV")[0]))
    return int(instructions("USER")[-1].split(":")[0]), environment["HOME"]


class TestAws:
    def test_ray_takes_it(self):
        validate_config(aws())

    def test_a_wrong_key_is_found(self):
        with pytest.raises(Exception, match="idle_timeout"):
            validate_config(aws() | {"idle_timeout": 3})

    @pytest.mark.parametrize("name", ["head", "cpu", "gpu"])
    def test_ec2_takes_each_machine(self, name: str):
        asked = dict(aws()["available_node_types"][name]["node_config"])
        (subnet,) = asked.pop("SubnetIds")  # Ray asks for one of them
        shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
        found = ParamValidator().validate(asked | {"SubnetId": subnet, "MinCount": 1, "MaxCount": 1}, shape)
        assert not found.has_errors(), found.generate_report()
        known = set(shape.members) | {"SubnetIds"}  # the validator lets unknown names pass
        assert set(asked) <= known

    def test_gpus_alone_are_on_spot_and_nothing_runs_for_nothing(self):
        types = aws()["available_node_types"]
        market = {name: kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType") for name, kind in types.items()}
        assert market == {"head": None, "cpu": None, "gpu": "spot"}
        assert all(kind["min_workers"] == 0 for kind in types.values())
        assert sum(kind["max_workers"] for kind in types.values()) == aws()["max_workers"]

    def test_ray_makes_no_open_group_and_no_almighty_role(self):
        config = aws()
        assert "security_group" not in config["provider"]
        assert config["provider"]["use_internal_ips"]
        for kind in config["available_node_types"].values():
            assert kind["node_config"]["SecurityGroupIds"]
            assert kind["node_config"]["IamInstanceProfile"]["Arn"]
            assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"

    def test_the_token_is_a_file_of_the_images_user(self):
        config, (user, home) = aws(), user_and_home()
        assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
        # Where Ray, MLflow and the script look by themselves.
        assert set(config["file_mounts"]) == {f"{home}/.ray", f"{home}/.mlflow", f"{home}/.boig"}
        assert "~/.boig/environment" in (IMAGE / "worker.sh").read_text()
        assert all(source.startswith("~/.boig-cluster/") for source in config["file_mounts"].values())
        assert f"sudo chown {user}:{user} /mnt/boig" in " ".join(config["initialization_commands"])

    def test_the_image_is_all_that_is_installed(self):
        config = aws()
        assert not [*config["setup_commands"], *config["head_setup_commands"], *config["worker_setup_commands"]]

    def test_workers_have_the_threads_they_ask_for(self):
        for name in ("head_start_ray_commands", "worker_start_ray_commands"):
            assert aws()[name][-1].startswith("unset OMP_NUM_THREADS; ray start")

    def test_what_crosses_nodes_goes_by_s3_and_workers_find_the_code(self):
        assert f"--env {SETTING}=s3" in aws()["docker"]["head_run_options"]
        assert f"--env PYTHONPATH={instructions('WORKDIR')[0]}" in aws()["docker"]["run_options"]

    def test_the_workspace_is_where_the_pipeline_looks(self):
        assert "--volume /mnt/boig:/workspace" in aws()["docker"]["run_options"]
        assert "BOIG_WORKSPACE:-/workspace" in (IMAGE / "pipeline.sh").read_text()


class TestKubeRay:
    def test_the_fields_are_kuberays(self):
        RayCluster.model_validate(load(KUBERAY / "raycluster.yaml"))
        RayJob.model_validate(load(KUBERAY / "rayjob.yaml"))
        PersistentVolumeClaim.model_validate(load(KUBERAY / "workspace.yaml"))

    def test_a_wrong_field_is_found(self):
        cluster = load(KUBERAY / "raycluster.yaml")
        cluster["spec"]["headGroupSpec"]["template"]["spec"]["hostNetwork"] = True
        with pytest.raises(ValidationError, match="hostNetwork"):
            RayCluster.model_validate(cluster)

    def test_ray_takes_it(self):
        validate_config(kuberay())

    def test_the_job_runs_the_pipeline_on_this_clusters_head(self):
        cluster, job = load(KUBERAY / "raycluster.yaml"), load(KUBERAY / "rayjob.yaml")["spec"]
        assert job["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]
        assignment, script = job["entrypoint"].split()
        assert assignment.removeprefix("PROFILE=") in workspace.names(ROOT)
        assert Path(script).relative_to(instructions("WORKDIR")[0]) == (IMAGE / "pipeline.sh").relative_to(ROOT)
        assert kuberay()["available_node_types"]["headgroup"]["resources"]["CPU"] == 0

    def test_pods_get_what_they_may_use_and_are_not_root(self):
        cluster, job = load(KUBERAY / "raycluster.yaml")["spec"], load(KUBERAY / "rayjob.yaml")["spec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        pods = [*(group["template"]["spec"] for group in groups), job["submitterPodTemplate"]["spec"]]
        for pod in pods:
            assert pod["containers"][0]["resources"]["requests"] == pod["containers"][0]["resources"]["limits"]
            assert pod["securityContext"]["runAsUser"] == user_and_home()[0]
        assert cluster["autoscalerOptions"]["resources"]["requests"] == cluster["autoscalerOptions"]["resources"]["limits"]

    def test_workers_have_keys_for_what_is_handed_over_alone(self):
        cluster = load(KUBERAY / "raycluster.yaml")["spec"]
        for group in cluster["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            secrets = [source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"]]
            assert secrets == ["boig-mlflow", "boig-s3-worker"]
            assert pod["automountServiceAccountToken"] is False

    def test_the_head_has_the_workspace_and_all_have_shared_memory(self):
        cluster, claim = load(KUBERAY / "raycluster.yaml")["spec"], load(KUBERAY / "workspace.yaml")["metadata"]["name"]
        head = cluster["headGroupSpec"]
        for group in [head, *cluster["workerGroupSpecs"]]:
            pod = group["template"]["spec"]
            assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {"/workspace", "/dev/shm"}
            claims = {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
            assert claims == ({claim} if group is head else set())

    def test_what_crosses_nodes_goes_by_s3_and_workers_find_the_code(self):
        cluster = load(KUBERAY / "raycluster.yaml")["spec"]
        head, *workers = [
            group["template"]["spec"]["containers"][0]["env"] for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        ]
        assert {"name": SETTING, "value": "s3"} in head
        assert all({"name": "PYTHONPATH", "value": instructions("WORKDIR")[0]} in env for env in workers)

    def test_gpus_are_on_spot(self):
        gpu = next(g for g in load(KUBERAY / "raycluster.yaml")["spec"]["workerGroupSpecs"] if g["groupName"] == "gpu")
        pod = gpu["template"]["spec"]
        assert list(pod["nodeSelector"].values()) == ["spot"]
        assert {toleration["key"] for toleration in pod["tolerations"]} >= {"nvidia.com/gpu", *pod["nodeSelector"]}


Ask = tuple[int, float, float]
"""Workers, CPUs and GPUs of each."""


def asks(params: dict) -> Iterator[tuple[str, list[Ask]]]:
    """What is on Ray at the same time, step by step; see the flows."""
    for stage in SECTIONS:
        take = params[stage]["resources"]
        own = (take["workers"], take["cpus"], take["gpus"])
        beside: list[Ask] = []
        if stage == "train_reward":
            beside = [(1, take["cpus"], take["gpus"])]  # the judge
        elif stage == "align_boigsd":
            beside = [tuple(params[stage]["scoring"][key] for key in ("workers", "cpus", "gpus"))]  # type: ignore[list-item]
        yield stage, [own, *beside]
        if stage == "train_boigllm":
            workers = params[stage]["decoding"]["workers"]
            yield f"{stage} (describe)", [(workers, take["workers"] * take["cpus"] / workers, take["gpus"])]


def left_out(asked: list[Ask], types: dict) -> list[Ask]:
    """Workers for which the cluster at its largest has no place. Those with GPUs choose first; nobody else goes to a node with GPUs."""
    nodes = [[kind["resources"]["CPU"], kind["resources"].get("GPU", 0)] for kind in types.values() for _ in range(kind["max_workers"])]
    has_gpus = [gpus > 0 for _, gpus in nodes]
    missing = []
    for count, cpus, gpus in sorted(asked, key=lambda ask: -ask[2]):
        for _ in range(count):
            place = next((n for n, (c, g) in enumerate(nodes) if has_gpus[n] == (gpus > 0) and c >= cpus and g >= gpus), None)
            if place is None:
                missing.append((1, cpus, gpus))
            else:
                nodes[place] = [nodes[place][0] - cpus, nodes[place][1] - gpus]
    return missing


@pytest.mark.parametrize("profile", ["", *workspace.names(ROOT)])
@pytest.mark.parametrize("config", [aws, kuberay])
def test_each_stage_fits(config, profile: str):
    types = config()["available_node_types"]
    for step, asked in asks(workspace.overlay(ROOT, profile) if profile else read(ROOT / "params.yaml")):
        missing = left_out([*asked, (SPARE_CPUS, 1, 0)], types)
        assert not missing, f"{profile or 'default'}: {step} asks for {asked}; no place for {missing}"


@pytest.mark.parametrize("config", [aws, kuberay])
def test_what_does_not_fit_is_found(config):
    types = config()["available_node_types"]
    assert left_out([(9, 4, 1)], types) == [(1, 4, 1)]
    assert left_out([(1, 200, 0)], types) == [(1, 200, 0)]


class TestSecretsAndDoors:
    SECRET = re.compile(
        r"AKIA[0-9A-Z]{12}|-----BEGIN|://[^/\s]+:[^@/\s]+@|\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{40,}={0,2}(?![\w/.])"
        r"|(?i:(password|secret|token|access_key(_id)?)\w*\s*[:=]\s*['\"]?(?=\S*\d)[\w/+-]{12,})"
    )

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
    def test_no_file_has_a_secret(self, path: Path):
        assert not (found := self.SECRET.search(path.read_text())), found

    @pytest.mark.parametrize(
        "text", ["MLFLOW_TRACKING_PASSWORD=hunter2hunter2", "AKIA" + "Z7" * 8, "https://me:pw@host", "token: " + "0f" * 16]
    )
    def test_a_secret_is_found(self, text: str):
        assert self.SECRET.search(text)

    @pytest.mark.parametrize("path", [p for p in FILES if p.suffix in {".yaml", ".sh", ""}], ids=lambda path: path.name)
    def test_nothing_is_open_to_the_world(self, path: Path):
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        assert not re.search(r"0\.0\.0\.0|LoadBalancer|NodePort|hostNetwork|hostPort|enableIngress|CidrIp|^EXPOSE", "\n".join(lines), re.M)

    def test_the_dashboard_of_the_head_listens_on_its_loopback(self):
        assert "--dashboard-host=127.0.0.1" in aws()["head_start_ray_commands"][-1]

    @pytest.mark.parametrize("folder", [AWS, KUBERAY], ids=lambda path: path.name)
    def test_the_readme_names_what_is_to_be_filled_in(self, folder: Path):
        asked = {name for path in folder.glob("*.yaml") for name in re.findall(r"FILL_IN_\w+", path.read_text())}
        assert asked == set(re.findall(r"FILL_IN_\w+", (folder / "README.md").read_text()))
        assert len((folder / "README.md").read_text().splitlines()) < 60
