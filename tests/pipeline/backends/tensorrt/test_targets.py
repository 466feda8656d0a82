"""The GPUs that an engine is built for."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.errors import EnvironmentMismatch, UsageError
from visiondeploy.pipeline.backends.tensorrt.targets import FLOAT8, PORTABLE, TARGETS, member_of, target_of, targets_of

names = st.sampled_from(list(TARGETS))


@given(st.lists(names, min_size=1))
def test_each_is_there_once_whatever_the_order(wanted) -> None:
    found = targets_of(wanted)
    assert set(found) == set(wanted)
    assert len(found) == len(set(found))
    assert found == targets_of(reversed(wanted)) == tuple(name for name in TARGETS if name in wanted)


@pytest.mark.parametrize("name", ["sm_86", "SM_86", "sm86", "86", "8.6", " sm_86 "])
def test_one_gpu_has_many_spellings(name) -> None:
    assert targets_of([name]) == ("sm_86",)


def test_of_two_digits_before_the_point() -> None:
    assert targets_of(["12.0"]) == ("sm_120",)
    assert (target_of((12, 1)), member_of("sm_121")) == ("sm_121", "SM121")


def test_none_is_every_one_that_does_not_slow_the_others_down() -> None:
    assert targets_of([]) == PORTABLE
    assert set(TARGETS) - set(PORTABLE) == {"sm_75"}


def test_one_that_exists_and_cannot_be_built_for_has_its_reason() -> None:
    with pytest.raises(
        EnvironmentMismatch, match=r"does not build for sm_90 \(Hopper\), only for sm_75, .*sm_121: for"
    ):
        targets_of(["sm_86", "9.0"])


@pytest.mark.parametrize(("name", "near"), [("sm_87x", "sm_80"), ("sm_88", "sm_80"), ("sm_6", "")])
def test_an_unknown_one_is_told_what_exists(name, near) -> None:
    with pytest.raises(UsageError, match=rf"no target '{name}':.*{near and 'did you mean'}.*Known: .*sm_86"):
        targets_of([name])


@given(st.text(max_size=12))
def test_no_text_does_worse_than_a_sentence(text) -> None:
    with contextlib.suppress(UsageError, EnvironmentMismatch):
        assert set(targets_of([text])) <= set(TARGETS)


def test_fp8_is_for_gpus_that_multiply_it() -> None:
    assert targets_of((), fp8=True) == FLOAT8
    assert targets_of(["sm_120", "sm_89"], fp8=True) == ("sm_89", "sm_120")
    with pytest.raises(EnvironmentMismatch, match=r"^sm_86 \(Ampere: .*\) multiplies no fp8, GPUs from sm_89 on do"):
        targets_of(["sm_86"], fp8=True)
