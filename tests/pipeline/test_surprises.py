"""What is not as was asked for, in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.benchmarks.environment import has_fast_half
from visiondeploy.pipeline.surprises import surprises
from visiondeploy.types import Layer, Precision

computes = st.sampled_from(["fp32", "fp16", "bf16", "int8"])


def layers(*kinds: str) -> list[Layer]:
    return [Layer(f"layer{number}", "Conv", kind, "cpu") for number, kind in enumerate(kinds)]


@given(st.sampled_from(Precision), st.lists(computes, max_size=9))
def test_there_is_one_exactly_where_a_layer_is_off(precision: Precision, kinds: list[str]) -> None:
    found = surprises(precision, layers(*kinds), {})
    # That nothing is known is one, too.
    assert len(found) == ({*kinds} != {precision.value})
    assert all("\n" not in sentence for sentence in found)


def test_it_counts_kinds_and_names_layers() -> None:
    mixed = [*layers("int8", "fp32", "fp32"), Layer("up", "ConvTranspose", "fp32", "cpu")]
    assert surprises(Precision.INT8, mixed, {"int8": 4}) == (
        "3 of 4 layers do not compute in int8: 2 Conv in fp32, 1 ConvTranspose in fp32 (layer1, layer2, up)",
    )


def test_it_names_five_of_many() -> None:
    (sentence,) = surprises(Precision.INT8, layers(*["fp32"] * 40), {})
    assert sentence.endswith("40 Conv in fp32 (layer0, layer1, layer2, layer3, layer4, …)")


def test_fp16_on_a_cpu_without_it_is_said_for_what_it_is() -> None:
    (sentence,) = surprises(Precision.FP16, layers("fp32", "fp32"), {"fp16": 2})
    if has_fast_half():
        assert sentence.startswith("2 of 2 layers do not compute in fp16")
    else:
        assert sentence == "this CPU has no fast half precision: 2 layers are stored in fp16 and computed in fp32"


def test_fp16_that_a_gpu_does_not_compute_is_not_put_on_the_cpu() -> None:
    (sentence,) = surprises(Precision.FP16, [Layer("up", "ConvTranspose", "fp32", "cuda", "fp16")], {"fp16": 1})
    assert sentence == "1 of 1 layers do not compute in fp16: 1 ConvTranspose in fp32 (up)"


def test_fp16_that_is_something_else_is_not_put_on_the_cpu() -> None:
    (sentence,) = surprises(Precision.FP16, layers("bf16", "fp32"), {"fp16": 2})
    assert sentence.startswith("2 of 2 layers do not compute in fp16: 1 Conv in bf16, 1 Conv in fp32")
