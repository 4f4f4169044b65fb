"""What each method asks the diffusion model for, and the list of pictures to draw."""

from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from boig.brief import BUCKETS
from tasks.evaluate.methods import STEERED, Method


@dataclass(frozen=True)
class Job:
    """One picture to draw."""

    brief: int
    """Index of the brief."""
    adapter: str
    """Folder under models/boigsd; empty for the base model."""
    kind: str
    """`caption`, `described` or `retrieved`."""
    bucket: str
    """The wanted bucket where the method is steered by it; empty elsewhere."""
    prompt: str
    candidate: int
    seed: int

    @property
    def key(self) -> str:
        """Unique name: equal for methods that share the picture."""
        return picture_key(self.adapter, self.kind, self.bucket, self.brief, self.candidate)


def picture_key(adapter: str, kind: str, bucket: str, brief: int, candidate: int) -> str:
    """Name of a picture among all that are drawn."""
    return "/".join((adapter or "base", kind, bucket or "any", f"{brief:05d}", f"{candidate:02d}"))


def picture_seed(seed: int, brief: int, candidate: int) -> int:
    """The seed of a candidate's noise: the same for all methods, so that only the method differs."""
    return int(np.random.default_rng([seed, brief, candidate]).integers(2**31))


def retrieved(captions: list[str], known: list[str], kpis: list[float], descriptions: list[str], neighbors: int) -> list[str]:
    """For each caption the description of the best-liked of the training posts nearest to it in words (TF-IDF cosine).

    Args:
        captions: what is asked for, (N,).
        known: captions of training posts, (M,).
        kpis: theirs, 0–100, (M,).
        descriptions: captions of their verbalized pictures, (M,).
        neighbors: how many nearest posts compete.

    Raises:
        ValueError: no training post, or none with words.
    """
    if not any(text.strip() for text in known):
        raise ValueError("retrieved_prompt needs captions of posts of split train, and there are none; drop it from evaluate.methods")
    words = TfidfVectorizer(sublinear_tf=True)
    index = words.fit_transform(known)  # (M, W), unit rows
    near = (words.transform(captions) @ index.T).tocsr()  # (N, M), sparse
    liked = np.asarray(kpis, np.float64)
    best = []
    for i in range(len(captions)):
        nearest = np.argsort(-near[[i]].toarray()[0], kind="stable")[:neighbors]
        best.append(descriptions[nearest[np.argmax(liked[nearest])]])
    return best


def plan(methods: list[Method], prompts: dict[str, list[str]], *, seed: int) -> list[Job]:
    """All pictures to draw, each once, however many methods share it; ordered by adapter, then kind, bucket and brief.

    Args:
        methods: the rows of the table.
        prompts: the prompt of each brief, per kind: `caption`, `retrieved`, and `described/<bucket>`.
        seed: of the pictures.
    """
    jobs: dict[str, Job] = {}
    for method in methods:
        for bucket in BUCKETS if method.name in STEERED else ("",):
            texts = prompts[f"described/{bucket}" if method.prompt == "described" else method.prompt] if method.candidates else []
            for i, text in enumerate(texts):
                for k in range(method.candidates):
                    job = Job(i, method.adapter, method.prompt, bucket, text, k, picture_seed(seed, i, k))
                    jobs.setdefault(job.key, job)
    return [jobs[key] for key in sorted(jobs)]
