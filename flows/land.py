"""Look for new posts by the clock, deployed from `infra/prefect.yaml`: when enough have landed, the event triggers a retraining."""

import json
from pathlib import Path

from prefect import flow
from prefect.events import emit_event
from prefect.runtime import deployment
from prefect.states import Completed, State

from boig import tracking
from boig.registry import Registry
from boig.retraining.settings import Retraining
from flows import worktree
from flows.ingest import LANDED
from flows.landed import last_of, look, nothing_new
from flows.retrain import current
from flows.stage import write_json

ANNOUNCED = Path(worktree.FOLDER, "announced.json")
"""After which generation the last event was emitted, and how many posts there were."""


@flow(name="land")
@tracking.answering()
def land(settings: Retraining) -> State:
    """Count posts, without their pictures, in the checkout itself; nothing of it is changed."""
    root = Path.cwd()
    current(root, deployment.version)
    registry = Registry(tracking.uri())
    last = last_of(registry.versions(), registry.champion())
    landed = look(settings, root, last)
    if idle := nothing_new(landed, last, settings.min_new_posts):
        return Completed(message=idle)
    known = json.loads(ANNOUNCED.read_text()) if ANNOUNCED.is_file() else {}
    after = last.number if last else 0
    if known.get("after") == after and landed.posts - known["posts"] < settings.min_new_posts:
        return Completed(message=f"{landed.new} new posts, which have been announced")
    resource = {"prefect.resource.id": "boig.feed", "prefect.resource.name": settings.feed or settings.profile}
    emit_event(LANDED, resource, payload={"posts": landed.posts, "new": landed.new})
    write_json(ANNOUNCED, {"after": after, "posts": landed.posts})
    return Completed(message=f"{landed.new} new posts: announced")
