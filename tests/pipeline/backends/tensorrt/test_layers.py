"""The lines in which TensorRT tells of an engine's layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.pipeline.backends.onnx_file import Product
from visiondeploy.pipeline.backends.tensorrt.layers import (
    UNKNOWN,
    WORDS,
    EngineLayer,
    Operand,
    compute,
    parse_layers,
    realise,
)

# As TensorRT-RTX 1.7.1 wrote them.
RTX = """
Name: __myl_CastConc_myl0_0, LayerType: kgen, Inputs: [ { Name: image, Dimensions: [1,3,32,32], Strides: [3072,1024,32,1], StrideOrder: [3,2,1,0], Datatype: Float, Format: (Linear) Row major linear format }], Constants: [ { Name: __mye11_myl0, Dimensions: [1,1,32,32], Strides: [1024,1,32,1], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], Outputs: [ { Name: relu.1_2_myl0, Dimensions: [1,4,32,32], Strides: [4096,1,128,4], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], TacticName: __myl_CastConc_0x40d79694382835a3b589a2df8bc99b2d, StreamId: 0, Metadata: [ONNX Layer: graph_input_cast0][ONNX Layer: encoder.0.0][ONNX Layer: node_relu]
Name: encoder.0.0_myl0_1, LayerType: correlation, Inputs: [ { Name: relu.1_2_myl0, Dimensions: [1,4,32,32], Strides: [4096,1,128,4], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], Constants: [ { Name: __mye33_dconst_myl0, Dimensions: [16,4,3,3], Strides: [36,1,12,4], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }, { Name: __mye44_const_myl0, Dimensions: [1], Strides: [1], StrideOrder: [0], Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: a, Dimensions: [1,16,32,32], Strides: [16384,1,512,16], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], TacticName: __myelin_CASK_STUB, StreamId: 0, Metadata: [ONNX Layer: encoder.0.0][ONNX Layer: node_relu]
Name: __mye18_0_myl0_2, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata:

I/O Tensors:
 Name: image, IOMode: Input, DataType: Float, Dimensions: [1,3,32,32], Location: Device, IsShapeInferenceIO: false
"""  # noqa: E501

# In the form that TensorRT 10's developer guide and its users' logs show.
CLASSIC = (
    "Name: /f/Conv + /f/Relu, LayerType: CaskConvolution, Inputs: [ { Name: in, Location: Device, Dimensions: "
    "[1,3,224,224], Format/Datatype: Thirty-two wide channel vectorized row major Int8 format }], Outputs: [ { Name: "
    "/f/Relu_output_0, Location: Device, Dimensions: [1,64,55,55], Format/Datatype: Half }], ParameterType: "
    'Convolution, Kernel: [3,3], Weights: {"Type": "Int8", "Count": 23232}, Bias: {"Type": "Half", "Count": 64}, '
    "HasBias: 1, TacticValue: 0x1, StreamId: 0, Metadata: [ONNX Layer: /f/Conv]\x1e[ONNX Layer: /f/Relu]"
)

# What nodes of ONNX graphs are called; braces and line breaks TensorRT itself does not tell apart from its own.
names = (
    st.text("abcXYZ019_./:+*-' ,()[]", min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda name: name and not name.endswith("]") and "]," not in name and "[" not in name[:1])
)
kinds = st.sampled_from(["Float", "Half", "Int8", "BF16", "FP8"])
operands = st.builds(
    lambda name, word, shape: (name, word, shape), names, kinds, st.lists(st.integers(1, 64), min_size=1, max_size=4)
)


def written(operand: tuple[str, str, list[int]], *, classic: bool) -> str:
    name, word, shape = operand
    dimensions = ",".join(map(str, shape))
    if classic:
        return f" {{ Name: {name}, Location: Device, Dimensions: [{dimensions}], Format/Datatype: {word} }}"
    strides = ",".join("1" for _ in shape)
    return (
        f" {{ Name: {name}, Dimensions: [{dimensions}], Strides: [{strides}], StrideOrder: [{strides}], "
        f"Datatype: {word}, Format: (Linear) Row major linear format }}"
    )


def line(name: str, inputs: list, constants: list, outputs: list, nodes: list[str], *, classic: bool) -> str:
    ins, consts, outs = (",".join(written(o, classic=classic) for o in x) for x in (inputs, constants, outputs))
    middle = "" if classic else f", Constants: [{consts}]"
    between = "\x1f" if classic else ""
    written_as = ("", "__gemm_from_conv1x1", "__mye12")
    metadata = between.join(f"[ONNX Layer: {node}]{written_as[n % 3]}" for n, node in enumerate(nodes))
    return (
        f"Name: {name}, LayerType: gemm, Inputs: [{ins}]{middle}, Outputs: [{outs}], TacticName: t_0x1f, StreamId: 0, "
        f"Metadata: {metadata}"
    )


def expected(found: tuple[str, str, list[int]]) -> Operand:
    return Operand(found[0], WORDS[found[1]], tuple(found[2]))


lists = st.lists(operands, max_size=3)


class TestParsing:
    @given(names, lists, lists, lists, st.lists(names, max_size=3), st.booleans())
    def test_what_was_written_is_read(self, name, inputs, constants, outputs, nodes, classic) -> None:
        (found,) = parse_layers(line(name, inputs, constants, outputs, nodes, classic=classic))
        assert (found.name, found.kind, found.nodes) == (name, "gemm", tuple(nodes))
        assert found.inputs == tuple(map(expected, inputs))
        assert found.constants == (() if classic else tuple(map(expected, constants)))
        assert found.outputs == tuple(map(expected, outputs))

    @given(st.lists(st.tuples(names, lists), max_size=4), st.text("ab\n: ", max_size=20))
    def test_lines_keep_their_order_among_others(self, layers, noise) -> None:
        lines = [line(name, inputs, [], [], [], classic=False) for name, inputs in layers]
        found = parse_layers(f"{noise}\n" + f"\n{noise}\n".join(lines) + f"\n\nI/O Tensors:\n Name: {noise}")
        assert [(layer.name, len(layer.inputs)) for layer in found] == [(name, len(ins)) for name, ins in layers]

    @given(st.text(max_size=200))
    def test_no_text_makes_it_fall(self, text) -> None:
        assert isinstance(parse_layers(text), tuple)

    def test_as_tensorrt_rtx_writes(self) -> None:
        cast, convolution, shapes = parse_layers(RTX)
        assert cast.nodes == ("graph_input_cast0", "encoder.0.0", "node_relu")
        assert cast.inputs == (Operand("image", "fp32", (1, 3, 32, 32)),)
        assert [(o.type, o.size) for o in convolution.constants] == [("fp16", 576), ("fp32", 1)]
        assert (convolution.kind, compute(convolution)) == ("correlation", "fp16")
        assert shapes == EngineLayer("__mye18_0_myl0_2", "shape_call", (), (), (), ())

    def test_as_tensorrt_writes(self) -> None:
        (layer,) = parse_layers(CLASSIC)
        assert (layer.kind, layer.nodes, layer.weights) == ("CaskConvolution", ("/f/Conv", "/f/Relu"), "int8")
        assert [operand.type for operand in (*layer.inputs, *layer.outputs)] == ["int8", "fp16"]
        assert compute(layer) == "int8"

    def test_a_type_that_is_not_told_is_unknown(self) -> None:
        (layer,) = parse_layers(CLASSIC.replace("Half }]", "N/A due to dynamic shapes }]"))
        assert layer.outputs[0].type == UNKNOWN


def layer(inputs: list[str], constants: list[tuple[str, int]], kind: str = "correlation") -> EngineLayer:
    return EngineLayer(
        "layer",
        kind,
        tuple(Operand(f"in{n}", word, (100,)) for n, word in enumerate(inputs)),
        tuple(Operand(f"c{n}", word, (size,)) for n, (word, size) in enumerate(constants)),
        (),
        ("product",),
    )


class TestCompute:
    @pytest.mark.parametrize(
        ("inputs", "constants", "found"),
        [
            (["int8"], [("int8", 576), ("fp32", 16)], "int8"),
            (["fp16"], [("fp16", 576), ("fp32", 1), ("fp32", 1)], "fp16"),
            (["fp32"], [("fp32", 576)], "fp32"),
            # TensorRT's own kernel takes the cast of its input in: strongly typed, the weights say what is multiplied.
            (["fp32"], [("fp16", 576)], "fp16"),
            # A residual sum in the kernel.
            (["int8", "fp32"], [("int8", 576)], "int8"),
            # Turing: the weights are dequantised before, and come as an input.
            (["fp32", "fp32"], [("fp32", 1), ("fp32", 1)], "fp32"),
            (["int8", "fp32"], [("fp32", 1)], "fp32"),
            # Only the weights are codes.
            (["fp16"], [("int8", 576)], "fp16"),
            # A product of two activations.
            (["fp16", "fp16"], [("fp32", 1)], "fp16"),
            # One weight.
            (["fp16"], [("fp16", 1), ("fp32", 1)], "fp16"),
            ([], [], UNKNOWN),
        ],
    )
    def test_is_the_type_that_is_multiplied(self, inputs, constants, found) -> None:
        assert compute(layer(inputs, constants)) == found

    @given(st.lists(st.sampled_from(["int8", "fp16", "fp32"]), min_size=1, max_size=3))
    def test_int8_is_not_said_without_an_input_in_int8(self, inputs) -> None:
        assert (compute(layer(inputs, [("int8", 9)])) == "int8") == ("int8" in inputs)


class TestRealise:
    PRODUCTS = (Product("product", "Conv", "int8", "int8"), Product("lost", "MatMul", None, None))

    def test_names_each_product_once_with_what_was_wanted(self) -> None:
        found, lost = realise(self.PRODUCTS, [layer(["int8"], [("int8", 9)])], "cuda", tf32=False)
        assert (found.name, found.kind, found.compute, found.wanted) == ("product", "Conv", "int8", "int8")
        assert not found.fell_back
        # Nothing is claimed of one that no layer names.
        assert (lost.compute, lost.fell_back) == (UNKNOWN, False)

    def test_pointwise_work_around_a_product_says_nothing_of_it(self) -> None:
        around = layer(["fp32"], [("fp32", 9)], "kgen")
        (found, _) = realise(self.PRODUCTS, [around, layer(["int8"], [("int8", 9)]), around], "cuda", tf32=False)
        assert found.compute == "int8"
        (alone, _) = realise(self.PRODUCTS, [around], "cuda", tf32=False)
        assert (alone.compute, alone.fell_back) == ("fp32", True)

    def test_of_two_layers_the_wider_counts(self) -> None:
        parts = [layer(["int8"], [("int8", 9)]), layer(["fp32"], [("fp32", 9)])]
        assert realise(self.PRODUCTS, parts, "cuda", tf32=False)[0].compute == "fp32"

    def test_with_tf32_fp32_is_not_claimed(self) -> None:
        (found,) = realise(
            [Product("product", "Conv", "fp32", "fp32")], [layer(["fp32"], [("fp32", 9)])], "cuda", tf32=True
        )
        assert (found.compute, found.fell_back) == ("tf32", False)
        assert replace(found, wanted="int8").fell_back
