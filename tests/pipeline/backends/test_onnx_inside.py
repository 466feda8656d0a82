"""What is counted of an ONNX file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import graphs
from kit.chains import SIZE, Chain, images, int8, run
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.pipeline.backends.inside import LayerDetail
from visiondeploy.pipeline.backends.onnx_inside import UNKNOWN, graph_layers, inner_tensors

SHAPES = {"image": (1, 3, SIZE, SIZE)}


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    onnx.save_model(model, folder / "model.onnx")
    return folder / "model.onnx"


def chain() -> Chain:
    made = Chain().conv("a", 8).then("Relu").conv("b", 8, group=8).then("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return made.up("c", 4).conv("head", 3, kernel=1)


def by_name(model: onnx.ModelProto, folder: Path, shapes=SHAPES) -> dict[str, LayerDetail]:
    return {layer.name: layer for layer in graph_layers(saved(model, folder), shapes)}


def stored_bytes(model: onnx.ModelProto) -> int:
    return sum(numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


class TestLayers:
    def test_each_node_has_its_shapes_parameters_and_bytes(self, tmp_path) -> None:
        found = by_name(chain().model(), tmp_path)
        a = found["a"]
        assert [(spec.name, spec.dtype, spec.shape) for spec in (*a.inputs, *a.outputs)] == [
            ("image", "float32", (1, 3, 12, 12)),
            ("a.out", "float32", (1, 8, 12, 12)),
        ]
        assert (a.kind, a.parameters, a.weight_bytes, a.compute) == ("Conv", 224, 896, "fp32")
        assert [found[name].parameters for name in ("b", "c", "head")] == [80, 8 * 4 * 4 + 4, 15]
        relu = found["a.out.Relu"]
        assert (relu.parameters, relu.weight_bytes, relu.macs, relu.compute) == (0, 0, 0, None)

    @settings(max_examples=20, deadline=None)
    @given(
        kernel=st.sampled_from([1, 3]),
        group=st.sampled_from([1, 2, 4]),
        stride=st.sampled_from([1, 2]),
        up=st.booleans(),
    )
    def test_multiply_accumulates_are_what_a_convolution_of_ones_adds_up_to(
        self, tmp_path_factory, kernel, group, stride, up
    ) -> None:
        """Nothing is padded, so that every product meets an input."""
        made = Chain(channels=4)
        attributes = {"pads": [0] * 4, "strides": [stride, stride]}
        made.up("x", 8, group, kernel, **attributes) if up else made.conv("x", 8, kernel, group, **attributes)
        made.constants["x.w"][:], made.constants["x.b"][:] = 1, 0
        model, shape = made.model(), (1, 4, SIZE, SIZE)
        found = by_name(model, tmp_path_factory.mktemp("x"), {"image": shape})
        assert found["x"].macs == run(model, [{"image": np.ones(shape, np.float32)}]).sum()

    def test_a_quantised_graph_has_the_same_parameters_and_work_in_fewer_bytes(self, tmp_path) -> None:
        # In integers a transposed convolution of signed values is a convolution, whose bias is there once a phase.
        rewritten, phases, channels = "c", 4, 4
        model = chain().model()
        quantised = int8(model, images())
        before, after = by_name(model, tmp_path), by_name(quantised, tmp_path)
        for name in ("a", "b", "c", "head"):
            one, other = before[name], after[name]
            more = (phases - 1) * channels if name == rewritten else 0
            assert (other.parameters, other.macs) == (one.parameters + more, one.macs)
            assert (other.kind == one.kind) is (name != rewritten)
            assert other.compute == "int8"
            assert other.inputs[0].name.endswith("/value")
        assert not [layer for layer in after if "/weight" in layer or "/bias" in layer]
        assert sum(layer.weight_bytes or 0 for layer in after.values()) == stored_bytes(quantised)
        assert stored_bytes(quantised) < stored_bytes(model)

    @pytest.mark.parametrize("network", [graphs.unet, graphs.mixed])
    def test_every_byte_is_counted_once(self, network, tmp_path) -> None:
        model = network()
        found = by_name(model, tmp_path, {"image": (1, 3, 32, 32)})
        assert sum(layer.weight_bytes or 0 for layer in found.values()) == stored_bytes(model)
        assert all(isinstance(size, int) for layer in found.values() for spec in layer.outputs for size in spec.shape)

    def test_a_weight_of_two_layers_counts_with_the_first(self, tmp_path) -> None:
        model = Chain(channels=8).conv("a", 8).then("Relu").conv("b", 8).model()
        next(node for node in model.graph.node if node.name == "b").input[1] = "a.w"
        found = by_name(model, tmp_path, {"image": (1, 8, SIZE, SIZE)})
        assert (found["a"].parameters, found["b"].parameters) == (8 * 8 * 9 + 8, 8)
        assert found["a"].macs == found["b"].macs

    def test_a_free_size_is_named_and_its_work_is_not_guessed(self, tmp_path) -> None:
        model = chain().model()
        for axis, name in ((2, "height"), (3, "width")):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
        del model.graph.value_info[:]
        free, fixed = by_name(model, tmp_path, {}), by_name(model, tmp_path)
        assert free["a"].inputs[0].shape == ("n", 3, "height", "width")
        assert free["a"].macs is None
        assert free["a"].parameters == 224
        assert fixed["a"].macs == 8 * 3 * 9 * SIZE**2

    def test_matrix_products(self, tmp_path) -> None:
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["y"], name="linear"),
            helper.make_node("Gemm", ["y", "g", "b"], ["z"], name="gemm", transB=1),
            helper.make_node("Transpose", ["z"], ["t"], name="turned"),
            helper.make_node("MatMul", ["z", "t"], ["out"], name="activations"),
        ]
        constants = {"w": np.ones((5, 7)), "g": np.ones((3, 7)), "b": np.ones(3)}
        graph = helper.make_graph(
            nodes,
            "matrices",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(v.astype(np.float32), n) for n, v in constants.items()],
        )
        found = by_name(helper.make_model(graph), tmp_path, {"x": (2, 5)})
        assert [(layer.macs, layer.parameters) for layer in found.values()] == [
            (2 * 7 * 5, 35),
            (2 * 3 * 7, 24),
            (0, 0),
            (2 * 2 * 3, 0),
        ]

    def test_what_cannot_be_inferred_is_not_known(self, tmp_path) -> None:
        model = chain().model()
        made = helper.make_node("Secret", ["a.out"], ["secret"], name="secret", domain="elsewhere")
        model.graph.node.insert(1, made)
        model.graph.node[2].input[0] = "secret"
        model.opset_import.append(helper.make_opsetid("elsewhere", 1))
        found = by_name(model, tmp_path)
        assert (found["secret"].outputs[0].dtype, found["secret"].outputs[0].shape) == (UNKNOWN, ())
        assert (found["b"].macs, found["b"].compute, found["b"].parameters) == (None, None, 80)


class TestInner:
    def test_tensors_are_those_that_depend_on_the_input_and_are_no_codes(self, tmp_path) -> None:
        model = int8(chain().model(), images())
        found = inner_tensors(saved(model, tmp_path))
        layers = {inner.tensor: inner.layer for inner in found}
        assert list(layers)[:4] == [
            "image/quantised/value",
            "a.out",
            "a.out.Relu.out",
            "a.out.Relu.out/quantised/value",
        ]
        assert layers["a.out"] == "a"
        assert not [name for name in layers if "weight" in name or "bias" in name or name.endswith("/quantised")]
        made = [name for node in model.graph.node for name in node.output if name in layers]
        assert made == list(layers)


def test_sums_of_a_known_network(tmp_path) -> None:
    """A UNet of two levels by hand: two 3×3 convolutions a block, 2×2 transposed ones, a 1×1 head."""
    found = by_name(graphs.unet(width=16, depth=2), tmp_path, {"image": (1, 3, 32, 32)}).values()
    blocks = [(32, 3, 16), (16, 16, 32), (8, 32, 64), (16, 64, 32), (32, 32, 16)]
    macs = sum(9 * size**2 * out * (into + out) for size, into, out in blocks)
    macs += 4 * (8**2 * 64 * 32 + 16**2 * 32 * 16) + 32**2 * 16 * graphs.CLASSES
    assert sum(layer.macs or 0 for layer in found) == macs
    parameters = sum(9 * out * (into + out) + 2 * out for _, into, out in blocks)
    parameters += 4 * (64 * 32 + 32 * 16) + 32 + 16 + 17 * graphs.CLASSES
    assert sum(layer.parameters or 0 for layer in found) == parameters
    assert math.isclose(parameters * 4, sum(layer.weight_bytes or 0 for layer in found))
