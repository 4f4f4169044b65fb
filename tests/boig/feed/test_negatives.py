"""Mismatched negatives."""

from boig.feed.negatives import draw
from tests.boig.feed.rules import NEGATIVES

KINDS = ("shoe", "cup", "lamp", "phone", "cake", "chair")


def posts(count: int = 200) -> list[dict]:
    return [
        {
            "post_id": f"p{i:03}", "account": f"a{i % 10}", "industry": f"i{i % 5}", "caption": f"Our new {KINDS[i % 6]} is here",
            "picture_id": f"pic{i}", "group": f"p{i:03}", "split": "train",
        }
        for i in range(count)
    ]  # fmt: skip


def test_share_and_mismatch() -> None:
    rows = draw(posts(), NEGATIVES)
    assert len(rows) == 50  # 20 % of 250
    known = {p["post_id"]: p for p in posts()}
    by_picture = {p["picture_id"]: p for p in posts()}
    for row in rows:
        post, other = known[row["post_id"]], by_picture[row["picture_id"]]
        assert post["account"] != other["account"]
        assert post["industry"] != other["industry"]
        assert post["caption"] != other["caption"]
        assert (row["kpi"], row["bucket"]) == (5, "low")
    assert len({r["post_id"] for r in rows}) == 50


def test_equal_posts_give_equal_negatives() -> None:
    assert draw(posts(), NEGATIVES) == draw(posts(), NEGATIVES)
    assert draw([], NEGATIVES) == []
    assert draw(posts(), NEGATIVES.model_copy(update={"share": 0.0})) == []


def test_in_a_feed_of_one_account_the_words_tell() -> None:
    own = [p | {"account": "a", "industry": "i"} for p in posts()]
    by_id, by_picture = {p["post_id"]: p for p in own}, {p["picture_id"]: p for p in own}
    rows = draw(own, NEGATIVES)
    assert len(rows) == 50
    assert all(by_id[row["post_id"]]["caption"] != by_picture[row["picture_id"]]["caption"] for row in rows)
    assert draw([p | {"caption": f"a shoe and a cup, {p['post_id']}"} for p in own[:2]], NEGATIVES) == []
