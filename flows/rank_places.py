"""A TorchTrainer that leaves no reservation of its ranks, however it ends: one of Ray Train 2.60 may.

Where a rank dies as its function is begun, Ray Train's controller has no worker group to shut down yet, and the actor that it keeps to
clean up takes the end for a proper one: the cores stay reserved until the driver ends, and a training that starts again on a full cluster
waits for them for ever. That actor also looks for its cluster on its own; where another Ray runs on the machine, or was killed there, it
finds the wrong one and prints a stack. It is left out: what remains for it is a controller that is killed, and with that the driver ends.
"""

from typing import TYPE_CHECKING

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback, RayTrainCallback, WorkerGroupCallback

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.worker_group import WorkerGroup
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import PlacementGroupHandle


class Trainer(TorchTrainer):
    """A TorchTrainer, but for what cleans up after it."""

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        kept = [one for one in super()._create_default_callbacks() if not isinstance(one, PlacementGroupCleanerCallback)]
        return [*kept, _PlacesGivenBack()]


class _PlacesGivenBack(ControllerCallback, WorkerGroupCallback):
    """At the controller's end no reservation of its ranks is left."""

    def __init__(self) -> None:
        self._places: list[PlacementGroupHandle] = []

    def after_worker_group_start(self, worker_group: "WorkerGroup") -> None:
        """Before the ranks' function is begun."""
        self._places.append(worker_group.get_worker_group_state().placement_group_handle)

    async def before_controller_shutdown(self) -> None:
        """After the worker group was shut down, if there was one: what is given back twice is given back."""
        for place in self._places:
            place.shutdown()
