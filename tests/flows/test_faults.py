"""Retraining where things go wrong: real DVC, Git, S3, MLflow and Prefect; stages that stand in. All faults: `make faults`."""

from collections.abc import Iterator

import pytest

from tests.faults import servers
from tests.faults.__main__ import watch
from tests.faults.catalog import FAULTS, Fault
from tests.faults.drill import suffer, unended
from tests.faults.world import World

pytestmark = pytest.mark.slow
CHOSEN = {"kill -9 after the commit", "two triggers at once", "poisoned posts"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if missing := servers.missing_program():
        pytest.skip(missing)
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.begin()
        watch(world)
        yield world
    finally:
        world.close()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in CHOSEN], ids=lambda fault: fault.name)
def test_the_champion_is_right_and_the_next_retraining_puts_all_right(world: World, fault: Fault):
    suffer(world, fault)


def test_every_run_has_come_to_an_end(world: World):
    assert unended(world) == []


def test_all_that_was_chosen_is_there():
    assert {fault.name for fault in FAULTS} >= CHOSEN
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30
