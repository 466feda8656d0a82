from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.calibration.sets import POOL, choose, pool

SHOWN = st.lists(st.frozensets(st.sampled_from("abcdef")), min_size=1, max_size=40)


@given(SHOWN, st.integers(1, 50), st.integers(1, 10))
def test_as_many_images_as_were_asked_for_and_none_of_them_is_held_back(shown, images, held_back) -> None:
    order = pool(len(shown), seed=3)
    chosen = choose(order, shown, images, held_back)
    least = min(held_back, max(1, len(shown) // 4))
    assert len(chosen.images) == min(images, max(1, len(shown) - least))
    assert list(chosen.images) == sorted(set(chosen.images))
    assert 1 <= len(chosen.held_back) <= held_back
    if len(shown) > 1:
        assert not set(chosen.images) & set(chosen.held_back)


@given(SHOWN, st.integers(6, 50))
def test_every_class_that_occurs_is_in_the_set_where_there_is_room(shown, images) -> None:
    chosen = choose(range(len(shown)), shown, images, held_back=1)
    if len(shown) > 6:
        assert frozenset().union(*(shown[i] for i in chosen.images)) == frozenset().union(*shown)


def test_a_rare_class_gets_its_share() -> None:
    shown = [frozenset({"road", "sky"})] * 96 + [frozenset({"road", "sky", "sign"})] * 4
    order = pool(100, seed=0)
    chosen = choose(order, [shown[index] for index in order], images=12, held_back=4)
    assert sum("sign" in shown[index] for index in chosen.images) == 4


def test_images_without_classes_are_taken_in_the_order_of_the_seed() -> None:
    order = pool(20, seed=1)
    chosen = choose(order, [frozenset()] * 20, images=5, held_back=3)
    assert chosen.images == tuple(sorted(order[:5]))
    assert chosen.held_back == tuple(sorted(order[5:8]))
    assert order != pool(20, seed=2)


def test_a_large_split_is_not_looked_through_as_a_whole() -> None:
    assert len(pool(100_000, seed=0)) == POOL
