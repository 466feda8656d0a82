"""Memory that is lent again once nobody refers to it, and never before."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visiondeploy.pipeline.backends.buffers import KEPT, Pool

SHAPE, DTYPE = (2, 3, 4), np.dtype(np.uint8)

HOLDERS: dict[str, Callable[[np.ndarray], object]] = {
    "the array": lambda array: array,
    "a part": lambda array: array[1:, ::2],
    "a part of a part": lambda array: array[1][1:][..., 1:],
    "its transpose": lambda array: array.T,
    "other numbers": lambda array: array.view(np.int8),
    "another shape": lambda array: array.reshape(-1),
    "windows": lambda array: np.lib.stride_tricks.sliding_window_view(array, 2, axis=2),
    "more of it": lambda array: np.broadcast_to(array, (2, *SHAPE)),
    "a record array": lambda array: array.view(np.recarray),
    "its base": lambda array: array.base,
    "a memoryview": memoryview,
    "an array on a memoryview": lambda array: np.asarray(memoryview(array)[1:]),
    "a pickle's buffer": pickle.PickleBuffer,
    "a tensor": torch.from_numpy,
    "a tensor by DLPack": torch.from_dlpack,
}


def pool() -> Pool[np.ndarray]:
    """A pool whose handles are the arrays themselves, which a runtime's tensors hold."""
    return Pool(SHAPE, DTYPE, lambda array: array)


def computed(ours: Pool[np.ndarray], value: int) -> np.ndarray:
    """What a session returns: the runtime writes through the handle, the caller is lent the memory."""
    buffer = ours.take()
    buffer.handle[...] = value
    return buffer.lend()


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_what_somebody_can_read_stays_until_he_lets_go(hold) -> None:
    ours = pool()
    result = computed(ours, 1)
    where, held = address(result), hold(result)
    del result
    others = {address(computed(ours, value)) for value in range(2, 9)}
    assert where not in others
    assert (np.asarray(held) == 1).all()
    del held
    assert address(computed(ours, 9)) == where


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(HOLDERS)), st.lists(st.integers(0, 9), max_size=4)), max_size=40))
def test_whatever_is_held_and_dropped_in_whatever_order(calls) -> None:
    """After each call the caller holds its result somehow, and drops some that he held before."""
    ours, held = pool(), {}
    for value, (hold, dropped) in enumerate(calls):
        held[value] = HOLDERS[hold](computed(ours, value))
        for index in dropped:
            held.pop(value - index, None)
        assert all((np.asarray(found) == then).all() for then, found in held.items())


def test_a_caller_who_drops_his_results_gets_the_same_memory() -> None:
    ours = pool()
    assert len({address(computed(ours, value)) for value in range(9)}) == 1


def test_a_caller_who_looks_at_the_last_result_meanwhile_gets_the_same_memory_by_turns() -> None:
    ours, last, found = pool(), None, []
    for value in range(8):
        last = computed(ours, value)
        found.append(address(last))
    assert found == [found[0], found[1]] * 4


def test_forgets_all_but_a_few_buffers() -> None:
    """Those of a caller who held many results at a time are freed when he drops them."""
    ours = pool()
    held = [computed(ours, value) for value in range(9)]
    owners = [weakref.ref(array.base) for array in held]
    held.clear()
    assert sum(owner() is not None for owner in owners) == KEPT


def test_a_result_in_a_cycle_is_held_until_the_cycle_is_found() -> None:
    ours = pool()
    where = address(computed(ours, 0))
    gc.disable()
    try:
        cycle: list[object] = [computed(ours, 1)]
        cycle.append(cycle)
        del cycle
        assert address(computed(ours, 2)) != where
    finally:
        gc.enable()
    gc.collect()
    assert address(computed(ours, 3)) == where


def test_what_a_caller_does_to_the_array_is_not_done_to_the_next() -> None:
    ours = pool()
    result = computed(ours, 1)
    result.shape = (-1,)
    result.dtype = np.int8
    result.flags.writeable = False
    del result
    result = computed(ours, 2)
    assert (result.shape, result.dtype) == (SHAPE, DTYPE)
    assert result.flags.writeable
    assert (result == 2).all()


def test_how_often_the_runtime_holds_its_handle_changes_nothing() -> None:
    ours = pool()
    buffer = ours.take()
    more = [buffer.handle, buffer.handle]
    assert not buffer.lent
    result = buffer.lend()
    more.clear()
    buffer.handle = np.zeros(SHAPE, DTYPE)
    assert buffer.lent
    del result
    assert not buffer.lent


def test_results_may_be_dropped_by_another_thread() -> None:
    ours = pool()
    held = [computed(ours, 1)]
    where = address(held[0])
    assert address(computed(ours, 2)) != where
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert address(computed(ours, 3)) == where


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_shapes_at_the_edge(shape) -> None:
    ours = Pool(shape, np.dtype(np.float32), lambda array: array)
    for value in range(4):
        buffer = ours.take()
        buffer.handle[...] = value
        result = buffer.lend()
        assert isinstance(result, np.ndarray)
        assert result.shape == shape
        assert (result == value).all()
