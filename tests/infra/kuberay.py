"""The fields of KubeRay's `ray.io/v1`, and of the pods in it, that our files use; any other name is an error.

Names, and which of them are required, are those of KubeRay's raycluster_types.go and rayjob_types.go, and of Kubernetes' core/v1.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]


class Part(BaseModel):
    """Nothing but what is declared."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Part):
    name: Annotated[Name, Field(max_length=47)] | None = None
    """RayJobs may have 47 characters, RayClusters 63."""
    generateName: Annotated[str, Field(pattern=r"^[a-z][-a-z0-9]*-$", max_length=42)] | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> "Metadata":
        assert (self.name is None) != (self.generateName is None)
        return self


class Requirements(Part):
    requests: dict[str, str]
    limits: dict[str, str]


class Capabilities(Part):
    drop: list[Literal["ALL"]]


class ContainerSecurity(Part):
    allowPrivilegeEscalation: Literal[False]
    capabilities: Capabilities


class Seccomp(Part):
    type: Literal["RuntimeDefault"]


class PodSecurity(Part):
    runAsNonRoot: Literal[True]
    runAsUser: int
    runAsGroup: int
    fsGroup: int | None = None
    fsGroupChangePolicy: Literal["OnRootMismatch", "Always"] | None = None
    seccompProfile: Seccomp


class Variable(Part):
    name: str
    value: str


class SecretRef(Part):
    name: Name


class Source(Part):
    secretRef: SecretRef


class Port(Part):
    name: Name
    containerPort: int


class Mount(Part):
    name: Name
    mountPath: Annotated[str, Field(pattern="^/")]


class Container(Part):
    name: Name
    image: str
    ports: list[Port] = []
    env: list[Variable] = []
    envFrom: list[Source] = []
    resources: Requirements
    securityContext: ContainerSecurity
    volumeMounts: list[Mount] = []


class Claim(Part):
    claimName: Name


class EmptyDir(Part):
    medium: Literal["Memory", ""] = ""
    sizeLimit: str


class Volume(Part):
    name: Name
    persistentVolumeClaim: Claim | None = None
    emptyDir: EmptyDir | None = None


class Toleration(Part):
    key: str
    operator: Literal["Exists", "Equal"]
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class PodSpec(Part):
    nodeSelector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    automountServiceAccountToken: bool | None = None
    restartPolicy: Literal["Never"] | None = None
    """Autoscaler v2 wants it unset or `Never`."""
    securityContext: PodSecurity
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    volumes: list[Volume] = []

    @model_validator(mode="after")
    def mounts_have_volumes(self) -> "PodSpec":
        assert {mount.name for mount in self.containers[0].volumeMounts} == {volume.name for volume in self.volumes}
        return self


class Template(Part):
    spec: PodSpec


class AuthOptions(Part):
    mode: Literal["token"]


class AutoscalerOptions(Part):
    version: Literal["v2"]
    idleTimeoutSeconds: int
    resources: Requirements
    securityContext: ContainerSecurity


class Head(Part):
    serviceType: Literal["ClusterIP"]
    rayStartParams: dict[str, str]
    template: Template


class WorkerGroup(Part):
    groupName: Name
    replicas: int
    minReplicas: int
    maxReplicas: int
    rayStartParams: dict[str, str]
    template: Template


class ClusterSpec(Part):
    rayVersion: str
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: Head
    workerGroupSpecs: list[WorkerGroup]


class RayCluster(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class Submitter(Part):
    backoffLimit: int


class JobSpec(Part):
    clusterSelector: dict[Literal["ray.io/cluster"], Name]
    submissionMode: Literal["K8sJobMode"]
    entrypoint: str
    submitterConfig: Submitter
    submitterPodTemplate: Template


class RayJob(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


class Storage(Part):
    requests: dict[Literal["storage"], str]


class ClaimSpec(Part):
    accessModes: list[Literal["ReadWriteOnce", "ReadWriteMany"]]
    storageClassName: str
    resources: Storage


class PersistentVolumeClaim(Part):
    apiVersion: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: ClaimSpec
