"""The door to MLflow's model registry: generations of models, of which one is in use.

A generation is one registered version of `boig`: the commit whose dvc.lock names its models, the run that made it, and tags. Alias
`champion` is the one in use, `challenger` the newest that waits or was refused. What a version holds are papers (dvc.lock, dvc.yaml,
params.yaml, the gate's verdict); the models' bytes are DVC's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from boig.tracking import Run, connect

NAME = "boig"
CHAMPION, CHALLENGER = "champion", "challenger"
COMMIT, LOCK, PREVIOUS = "git.sha", "dvc.lock.sha256", "boig.previous_champion"
FEED_POSTS, FEED_NEWEST = "feed.posts", "feed.newest"
APPROVED_BY, PROMOTED_AT, GATE = "boig.approved_by", "boig.promoted_at", "boig.gate"
ROLLED_BACK_AT = "boig.rolled_back_at"
AGAINST = "boig.compared_with"
"""Number of the champion that the gate compared it with; empty for a first generation."""
LINE = "boig.line"
"""The champions before it at their best, as the gate has it (`boig.retraining.line`); none in versions of before."""
PAPERS = "generation"
"""Folder of a run's artifacts that a version points at."""


@dataclass(frozen=True)
class Version:
    """A registered generation."""

    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def commit(self) -> str:
        """Whose dvc.lock names the models."""
        return self.tags.get(COMMIT, "")

    @property
    def passed(self) -> bool:
        """Whether the gate has let it through."""
        return self.tags.get(GATE, "").startswith("passed")


class Registry:
    """The generations of one MLflow server."""

    def __init__(self, tracking_uri: str):
        """Make the registered model where it is missing.

        Raises:
            ConnectionError: the store does not answer.
        """
        connect(tracking_uri)
        self._client = MlflowClient(tracking_uri)
        try:
            self._client.create_registered_model(NAME, description="Generations of boig's models; their bytes are in DVC, by dvc.lock.")
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def champion(self) -> Version | None:
        """The generation in use."""
        return self._by_alias(CHAMPION)

    def challenger(self) -> Version | None:
        """The newest that is not."""
        return self._by_alias(CHALLENGER)

    def versions(self) -> list[Version]:
        """All generations, oldest first."""
        found = self._client.search_model_versions(f"name='{NAME}'", max_results=1000)
        return sorted((_version(v) for v in found), key=lambda v: v.number)

    def version(self, number: int) -> Version:
        """One of them.

        Raises:
            ValueError: there is none of that number.
        """
        for version in (known := self.versions()):
            if version.number == number:
                return version
        raise ValueError(f"{NAME} has no version {number}; it has {', '.join(str(v.number) for v in known) or 'none'}")

    def register(self, run: Run, papers: Path, tags: Mapping[str, str], card: str) -> Version:
        """A new generation as challenger; the one with all of these tags where an earlier try got as far.

        Args:
            run: that made it.
            papers: folder of what belongs to it.
            tags: of the version; `COMMIT` and `LOCK` among them.
            card: its model card, Markdown.
        """
        for version in self.versions():
            if tags.items() <= dict(version.tags).items():
                if (champion := self.champion()) is None or champion.number != version.number:
                    self._client.set_registered_model_alias(NAME, CHALLENGER, str(version.number))
                return version
        self._client.log_artifacts(run.run_id, str(papers), PAPERS)
        source = f"{self._client.get_run(run.run_id).info.artifact_uri}/{PAPERS}"
        made = self._client.create_model_version(NAME, source, run.run_id, dict(tags), description=card)
        self._client.set_registered_model_alias(NAME, CHALLENGER, made.version)
        return self.version(int(made.version))

    def papers(self, version: Version, folder: Path) -> Path:
        """What `register` was given, into a folder; where in it."""
        return Path(self._client.download_artifacts(version.run_id, PAPERS, str(folder)))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Add tags, or replace their values."""
        for name, value in tags.items():
            self._client.set_model_version_tag(NAME, str(version.number), name, value)

    def promote(self, version: Version, by: str) -> None:
        """Make a generation the champion. The alias is one write: before it the old one is in use, after it the new one.

        Args:
            version: the new champion.
            by: who decided.

        Raises:
            ValueError: the champion is not the one that it was compared with: what was found says nothing then.
        """
        before = self.champion()
        if before and before.number == version.number:
            return
        self.check_champion(version)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.tag(version, {PREVIOUS: str(before.number) if before else "", APPROVED_BY: by, PROMOTED_AT: now})
        self._client.set_registered_model_alias(NAME, CHAMPION, str(version.number))
        if (challenger := self.challenger()) and challenger.number == version.number:
            self._client.delete_registered_model_alias(NAME, CHALLENGER)

    def check_champion(self, version: Version) -> None:
        """See whether a generation was compared with the champion that is in use.

        Raises:
            ValueError: with another one: what was found says nothing then.
        """
        before = self.champion()
        if (against := version.tags.get(AGAINST, "")) != (str(before.number) if before else ""):
            used = f"version {before.number} is" if before else "there is none"
            raise ValueError(f"version {version.number} was compared with champion {against or 'none'}, but {used} in use; retrain again")

    def lost(self) -> Version | None:
        """The last champion, where none is in use any more: somebody has taken the alias away. None where all is well, or none ever was."""
        was = [version for version in self.versions() if PROMOTED_AT in version.tags and ROLLED_BACK_AT not in version.tags]
        return max(was, key=lambda version: version.tags[PROMOTED_AT]) if was and self.champion() is None else None

    def undecided(self) -> Version | None:
        """The newest generation, where it has passed the gate against today's champion and was neither promoted nor rolled back."""
        newest, champion = next(reversed(self.versions()), None), self.champion()
        if newest is None or ROLLED_BACK_AT in newest.tags or not newest.passed:
            return None
        used = str(champion.number) if champion else ""
        return newest if used != str(newest.number) and newest.tags.get(AGAINST, "") == used else None

    def rollback(self) -> tuple[Version, Version]:
        """Put the champion's predecessor back; (the one that was, the one that is).

        Raises:
            ValueError: there is no champion, or it had no predecessor.
        """
        now = self.champion()
        if now is None:
            raise ValueError("there is no champion to roll back; retrain, and approve what waits (`python -m flows.champion list`)")
        if not now.tags.get(PREVIOUS):
            raise ValueError(f"version {now.number} is the first champion; there is none before it")
        before = self.version(int(now.tags[PREVIOUS]))
        self.tag(now, {ROLLED_BACK_AT: datetime.now(UTC).isoformat(timespec="seconds")})
        self._client.set_registered_model_alias(NAME, CHAMPION, str(before.number))
        return now, before

    def _by_alias(self, alias: str) -> Version | None:
        try:
            return _version(self._client.get_model_version_by_alias(NAME, alias))
        except MlflowException as error:
            if error.error_code in (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE"):
                return None
            raise


def _version(found) -> Version:
    return Version(int(found.version), found.run_id or "", dict(found.tags))
