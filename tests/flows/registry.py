"""A stand-in for the registry of generations."""

from boig.registry import AGAINST, FEED_NEWEST, FEED_POSTS, GATE, Version


def version(number: int, posts: int = 1000, gate: str = "passed: reward: +0.1", **tags: str) -> Version:
    return Version(number, "run", {FEED_POSTS: str(posts), FEED_NEWEST: "2022-09-01T00:00:00+00:00", GATE: gate, AGAINST: ""} | tags)


class FakeRegistry:
    """Remembers who was promoted."""

    def __init__(self, *versions: Version):
        self.known, self.promoted, self.stale = {v.number: v for v in versions}, [], False

    def version(self, number: int) -> Version:
        return self.known[number]

    def versions(self) -> list[Version]:
        return list(self.known.values())

    def champion(self) -> Version | None:
        return None

    def check_champion(self, version: Version) -> None:
        if self.stale:
            raise ValueError(f"version {version.number} was compared with champion 1, but version 9 is in use; retrain again")

    def promote(self, version: Version, by: str) -> None:
        self.promoted.append((version.number, by))
