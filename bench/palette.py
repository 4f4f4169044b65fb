"""Named colors of pictures: our table look-up beside Lab k-means and PIL's palette quantizer, and beside the JPEG decode that precedes it.

    python -m bench.palette        # about a minute on one core; writes bench/results/palette.json

Equal for all: the same decoded pictures, one at a time, one thread, each method in a process of its own, which also gives its peak memory.
K-means gets what it is used with in practice: 128 px, 5 clusters, 1 start, each center named by the nearest of the 40 centroids.
"""

import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path("bench/results/palette.json")
SIDE, DECODED, KMEANS_SIDE, CLUSTERS = 512, 256, 128, 5
PICTURES, RUNS, QUALITY = 24, 5, 90
METHODS = ("decode", "ours", "kmeans", "quantize")


def jpegs() -> list[bytes]:
    """Rendered scenes at 512 px with a photograph's grain, as JPEG."""
    from boig.simulator.render import render
    from boig.simulator.scenes import sample_scene

    rng = np.random.default_rng(31)
    files = []
    for _ in range(PICTURES):
        grain = render(sample_scene(rng), SIDE) + rng.normal(0, 6, (SIDE, SIDE, 3))
        buffer = io.BytesIO()
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
        files.append(buffer.getvalue())
    return files


def decode(file: bytes) -> np.ndarray:
    """uint8 (256, 256, 3): decoded at half size, which JPEG's block transform gives nearly for free."""
    with Image.open(io.BytesIO(file)) as picture:
        picture.draft("RGB", (DECODED, DECODED))
        return np.asarray(picture.convert("RGB"))


def ours(picture: np.ndarray) -> np.ndarray:
    """(40,) coverage by table look-up."""
    from boig.verbalizer.palette import shares

    return shares(picture[None])[0][0]


def kmeans(picture: np.ndarray) -> np.ndarray:
    """(40,) coverage by k-means in Lab on a small copy."""
    from sklearn.cluster import KMeans

    from boig.verbalizer.palette import PALETTE, rgb_to_lab

    small = np.asarray(Image.fromarray(picture).resize((KMEANS_SIDE, KMEANS_SIDE)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct colors than clusters
        fit = KMeans(CLUSTERS, n_init=1, random_state=0).fit(rgb_to_lab(small).reshape(-1, 3))
    centroids = rgb_to_lab(np.array(list(PALETTE.values())))
    names = ((fit.cluster_centers_[:, None] - centroids) ** 2).sum(-1).argmin(1)
    return np.bincount(names[fit.labels_], minlength=40) / len(fit.labels_)


def quantize(picture: np.ndarray) -> np.ndarray:
    """(40,) coverage by PIL's nearest palette color; distance in RGB, not in Lab."""
    from boig.verbalizer.palette import PALETTE

    target = Image.new("P", (1, 1))
    target.putpalette([v for color in PALETTE.values() for v in color])
    indices = np.asarray(Image.fromarray(picture).quantize(palette=target, dither=Image.Dither.NONE))
    return np.bincount(indices.ravel(), minlength=40)[:40] / indices.size


def measure(method: str) -> dict:
    """Pictures a second, median of the runs, peak memory of this process, and the coverages."""
    files = jpegs()
    pictures: list = files if method == "decode" else [decode(file) for file in files]
    methods: dict[str, Callable] = {"decode": decode, "ours": ours, "kmeans": kmeans, "quantize": quantize}
    work = methods[method]
    answers = [work(picture) for picture in pictures]  # warm: tables, imports
    rates = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        for picture in pictures:
            work(picture)
        rates.append(len(pictures) / (time.perf_counter() - begun))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    coverage = [] if method == "decode" else np.array(answers).round(6).tolist()
    return {"per_s": statistics.median(rates), "rates": rates, "peak_rss_mb": peak, "coverage": coverage}


def main() -> None:
    if len(sys.argv) == 2:
        print(json.dumps(measure(sys.argv[1])))
        return
    found = {}
    for method in METHODS:
        answer = subprocess.run(
            [sys.executable, "-m", "bench.palette", method], check=True, capture_output=True, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        found[method] = json.loads(answer.stdout)
    mine = np.array(found["ours"]["coverage"])

    def agreement(method: str) -> float:
        return round(float(np.minimum(mine, np.array(found[method]["coverage"])).sum(1).mean()), 4)

    result = {
        "ours": round(found["ours"]["per_s"], 1),
        "peer": round(found["kmeans"]["per_s"], 1),
        "peer_name": "scikit-learn KMeans in Lab at 128 px, 5 clusters",
        "ratio": round(found["ours"]["per_s"] / found["kmeans"]["per_s"], 2),
        "unit": "pictures/s, one thread",
        "of_decode": round(found["ours"]["per_s"] / found["decode"]["per_s"], 2),
        "decode": round(found["decode"]["per_s"], 1),
        "quantize": {
            "name": "PIL quantize to the same 40 colors, nearest in RGB",
            "per_s": round(found["quantize"]["per_s"], 1),
            "ratio": round(found["ours"]["per_s"] / found["quantize"]["per_s"], 2),
            "same_coverage": agreement("quantize"),
        },
        "same_coverage": agreement("kmeans"),
        "peak_rss_mb": {method: round(found[method]["peak_rss_mb"]) for method in METHODS},
        "runs": RUNS,
        "machine": f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}, one thread",
        "held_equal": f"{PICTURES} JPEGs of {SIDE} px decoded at {DECODED} px, one at a time, median of {RUNS} runs, a process per method",
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{OUT}: {result['ours']}/s, {result['ratio']} × k-means, {result['of_decode']} × decode")


if __name__ == "__main__":
    main()
