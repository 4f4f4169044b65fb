"""Gives back the places of ranks that Ray Train 2.60 forgets.

Where a rank dies as its function is begun, Ray Train's controller has no worker group to shut down yet, and its cleaner takes the end for a
proper one: the cores stay reserved until the driver ends, and a training that starts again on a full cluster waits for them for ever.
"""

from typing import TYPE_CHECKING

from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.worker_group import WorkerGroup
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import PlacementGroupHandle


class PlacesGivenBack(ControllerCallback, WorkerGroupCallback):
    """At the controller's end, however it came, no reservation of its ranks is left."""

    def __init__(self) -> None:
        self._places: list[PlacementGroupHandle] = []

    def after_worker_group_start(self, worker_group: "WorkerGroup") -> None:
        """Before the ranks' function is begun."""
        self._places.append(worker_group.get_worker_group_state().placement_group_handle)

    async def before_controller_shutdown(self) -> None:
        """After the worker group was shut down, if there was one: what is given back twice is given back."""
        for place in self._places:
            place.shutdown()
