"""Whether an address answers. `python -m infra.stack.health <address>` says it by its exit code."""

import http.client
import sys
import urllib.error
import urllib.request


def answers(address: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET of the address gives 200."""
    try:
        with urllib.request.urlopen(address, timeout=timeout_s) as answer:
            return answer.status == 200
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(not answers(sys.argv[1]))
