"""`python -m infra.compose.enter <command …>`: become the command, with the service's secrets in its environment.

They come from a file that compose mounts for this service alone, so that neither `compose.yaml`, nor an image, nor what `docker inspect`
shows holds them. A setting that is left empty in `.env` counts as not set.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SECRETS = Path("/run/secrets/environment")


def environment(inherited: Mapping[str, str], secrets: Path = SECRETS) -> dict[str, str]:
    """What the command gets: `inherited` and the lines `NAME=value` of the file, if there is one.

    Raises:
        PermissionError: this user may not read the file.
    """
    try:
        lines = secrets.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    except PermissionError:
        raise PermissionError(f"{secrets} belongs to another user; BOIG_UID in .env must be who ran infra.compose.init") from None
    merged = {**inherited, **dict(line.split("=", 1) for line in lines if line)}
    return {name: value for name, value in merged.items() if value}


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("enter: no command given")
    try:
        os.execvpe(sys.argv[1], sys.argv[1:], environment(os.environ))
    except OSError as error:
        sys.exit(f"enter: {sys.argv[1]}: {error}")
