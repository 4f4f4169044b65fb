"""Stands in for a stage of the pipeline: `python stand_in.py <stage>` writes all of its outputs, which follow from what it reads alone.

Copied into the project under test, where DVC runs it.
"""

import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

import yaml

params = yaml.safe_load(Path("params.yaml").read_text())
stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]


def digest(name: str) -> str:
    """Of a file, or of all files of a folder."""
    files = sorted(path for path in Path(name).rglob("*") if path.is_file()) if Path(name).is_dir() else [Path(name)]
    return hashlib.md5(b"".join(file.read_bytes() for file in files)).hexdigest()


def held() -> None:
    """Wait at this point of the work where it is asked for; the test says when it goes on, or ends the process or itself."""
    stage, folder = os.environ.get("FAULT_POINT", ""), Path(os.environ.get("FAULT_FOLDER", "."))
    if stage != f"stage {sys.argv[1]}" or (folder / "reached").exists():
        return
    (folder / "reached").write_text(str(os.getpid()))
    while not (folder / "go").exists():
        if not folder.exists():
            raise SystemExit("the test has ended")
        time.sleep(0.02)


def main(stage: str) -> None:
    """Read the deps, wait where asked, write the outs."""
    known = stages[stage]
    feed = Path(params["ingest"]["feed"])
    deps = [re.sub(r"\$\{(\w+)\.(\w+)\}", lambda found: str(params[found[1]][found[2]]), dep) for dep in known["deps"]]
    made = {
        "from": {Path(dep).name: digest(dep) for dep in deps},
        "posts": len(feed.read_text().splitlines()) - 1,
        "poisoned": "#poison" in feed.read_text(),
    }
    for out in known["outs"]:
        path = Path(out) if Path(out).suffix else Path(out) / "made.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"out": out, **made}))
        held()  # half of the outs are there
    for metric in known["metrics"]:
        for path in map(Path, metric):
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}\n")


main(sys.argv[1])
