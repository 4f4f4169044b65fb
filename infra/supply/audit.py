"""`make audit`: known vulnerabilities in what the lock files name, by pip-audit; a line per finding.

Exit code 0: none but those accepted in accepted.yaml. 1: others, or an acceptance that nothing needs any more. 2: the service did not
answer for every package, so nothing is known. pip-audit asks PyPI's own service; its environment variables name another.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.supply import accepted, lock

PIP_AUDIT = Path(".tools/bin/pip-audit")


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a locked version."""

    package: str
    version: str
    ids: tuple[str, ...]
    """The service's id, then its aliases."""
    fixes: tuple[str, ...]
    """Versions without it."""

    def __str__(self) -> str:
        mend = f"make lock UPGRADE={self.package}" if self.fixes else "no version without it yet; see whether it can hurt here"
        told = f", not in {', '.join(self.fixes)}" if self.fixes else ""
        return f"{self.package} {self.version}: {' = '.join(self.ids)}{told}; {mend}"


def ask(path: Path) -> list[Finding]:
    """What pip-audit finds in a lock file.

    Raises:
        ConnectionError: the service did not answer, or not for every package.
    """
    command = [str(PIP_AUDIT), "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run([*command, "--requirement", str(path)], capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ConnectionError(f"pip-audit has no answer ({said[:200]}); run it where the vulnerability service can be reached") from None
    return findings(answer)


def findings(answer: dict) -> list[Finding]:
    """pip-audit's JSON, read.

    Raises:
        ConnectionError: packages that the service could not tell about. pip-audit itself calls that "no known vulnerabilities".
    """
    packages = answer["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        asked = f"nothing about {len(skipped)} of {len(packages)} packages" + (f", {skipped[0]} first" if skipped else "")
        raise ConnectionError(f"the vulnerability service knows {asked}; run it where the service itself can be reached, not a mirror")
    found = {
        Finding(package["name"], package["version"], (one["id"], *one["aliases"]), tuple(one["fix_versions"]))
        for package in packages
        for one in package["vulns"]
    }
    return sorted(found, key=lambda finding: (finding.package, finding.ids))


def objections(found: Sequence[Finding], known: Iterable[accepted.Vulnerability]) -> list[str]:
    """A line for each finding that is not accepted, and for each acceptance without a finding."""
    known = list(known)
    met = {(finding.package, name) for finding in found for name in finding.ids}
    allowed = {(entry.package, entry.id) for entry in known}
    return [
        *(str(finding) for finding in found if not allowed & {(finding.package, name) for name in finding.ids}),
        *(
            f"{entry.package}: {entry.id} is accepted in infra/supply/accepted.yaml but not found any more; remove it"
            for entry in known
            if (entry.package, entry.id) not in met
        ),
    ]


def main() -> int:
    """Print what is wrong; the exit code."""
    known = accepted.load().vulnerabilities
    try:
        found = {finding: None for path in lock.LOCKS for finding in ask(path)}  # tools and project may share a package
    except ConnectionError as error:
        print(f"make audit: {error}", file=sys.stderr)
        return 2
    wrong = objections(list(found), known)
    print("\n".join(wrong) or f"no known vulnerability in {', '.join(map(str, lock.LOCKS))} but {len(known)} accepted")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
