"""Q/DQ of every scheme on small graphs, run by the real runtimes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import OBSERVERS
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import quantise
from visiondeploy.calibration.schemes import SCHEMES, Scheme
from visiondeploy.errors import InputError


def small_net(seed: int = 0, groups: int = 1) -> onnx.ModelProto:
    """conv-relu, pool, conv-relu, up, concat with the skip, conv-relu, 1×1 conv: a UNet of one level."""
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}

    def conv(name: str, source: str, cin: int, cout: int, k: int, relu: bool = True, group: int = 1):
        constants[f"{name}.w"] = rng.normal(0, (2 / (cin * k * k)) ** 0.5, (cout, cin // group, k, k))
        constants[f"{name}.b"] = rng.normal(0, 0.1, cout)
        inputs = [source, f"{name}.w", f"{name}.b"]
        out = f"{name}.conv" if relu else f"{name}.out"
        nodes = [helper.make_node("Conv", inputs, [out], name=name, pads=[k // 2] * 4, group=group)]
        return [*nodes, helper.make_node("Relu", [out], [f"{name}.out"], name=f"{name}.relu")] if relu else nodes

    constants["up.w"] = rng.normal(0, 0.3, (16, 8, 2, 2))
    constants["up.b"] = rng.normal(0, 0.1, 8)
    nodes = [
        *conv("a", "image", 3, 8, 3),
        helper.make_node("MaxPool", ["a.out"], ["pool.out"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        *conv("b", "pool.out", 8, 16, 3),
        helper.make_node("ConvTranspose", ["b.out", "up.w", "up.b"], ["up.out"], name="up", strides=[2, 2]),
        helper.make_node("Concat", ["a.out", "up.out"], ["cat.out"], name="cat", axis=1),
        *conv("c", "cat.out", 16, 8, 3, group=groups),
        *conv("head", "c.out", 8, 4, 1, relu=False),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("head.out", TensorProto.FLOAT, ["batch", 4, 16, 16])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def feeds(count: int = 4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"image": rng.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


CPU = SCHEMES["cpu"]
FP8 = SCHEMES["tensorrt-fp8"]


def ranges_of(model: onnx.ModelProto, observer: str = "min-max", scheme: Scheme = CPU):
    statistics = observe(model, tensors_to_observe(model), feeds(), threads=1)
    return {name: OBSERVERS[observer](found, scheme.target) for name, found in statistics.items()}


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    import onnxruntime as ort

    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]


def run_openvino(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return compiled(feed)[0]


def sqnr(reference: np.ndarray, found: np.ndarray) -> float:
    return 10 * np.log10((reference**2).sum() / ((reference - found) ** 2).sum())


@pytest.mark.parametrize("runner", [run, run_openvino])
@pytest.mark.parametrize("groups", [1, 8])
def test_the_quantised_graph_computes_nearly_what_the_float_graph_does(runner, groups: int) -> None:
    model = small_net(groups=groups)
    quantised = quantise(model, ranges_of(model), CPU, weight_bits=7).model
    onnx.checker.check_model(quantised)
    for feed in feeds():
        assert sqnr(run(model, feed), runner(quantised, feed)) > 25


@pytest.mark.parametrize("observer", OBSERVERS)
def test_it_does_so_with_the_ranges_of_every_observer(observer: str) -> None:
    model = small_net()
    quantised = quantise(model, ranges_of(model, observer), CPU, weight_bits=7).model
    for feed in feeds():
        assert sqnr(run(model, feed), run(quantised, feed)) > 20


def test_every_convolution_is_meant_to_run_in_int8_depthwise_included() -> None:
    model = small_net(groups=8)
    result = quantise(model, ranges_of(model), CPU)
    assert result.int8 == ("a", "b", "up", "c", "head")
    assert result.left_in_float == {}


def test_the_model_that_was_given_is_not_changed() -> None:
    model = small_net()
    before = model.SerializeToString()
    quantise(model, ranges_of(model), CPU)
    assert model.SerializeToString() == before


def scales_of(model: onnx.ModelProto, scheme: str) -> dict[str, float]:
    """The scale of every tensor that has a pair, by its name."""
    graph = quantise(model, ranges_of(model, scheme=SCHEMES[scheme]), SCHEMES[scheme]).model.graph
    end = "/quantised/scale"
    constants = {t.name: t for t in graph.initializer if t.name.endswith(end)}
    return {name.removesuffix(end): float(numpy_helper.to_array(t)) for name, t in constants.items()}


@pytest.mark.parametrize("scheme", ["cpu", "cpu-onnxruntime"])
def test_pooling_keeps_its_inputs_scale(scheme: str) -> None:
    scales = scales_of(small_net(), scheme)
    assert scales["pool.out"] == scales["a.out"]


def test_branches_of_a_concat_keep_their_own_scale() -> None:
    scales = scales_of(small_net(), "cpu-onnxruntime")
    assert scales["a.out"] != scales["up.out"]


def test_a_branch_that_only_a_concat_reads_is_rounded_once_where_the_runtime_can() -> None:
    scales = scales_of(small_net(), "cpu")
    assert "up.out" not in scales
    # Pooling reads the other one too, and reads codes.
    assert scales["a.out"] != scales["cat.out"]


def test_a_branch_that_is_computed_in_float_has_a_pair_of_its_own() -> None:
    model = small_net()
    graph = quantise(model, ranges_of(model), CPU, keep_float=frozenset({"up"})).model.graph
    assert "up.out/quantised" in {name for node in graph.node for name in node.output}


def test_what_follows_a_relu_is_unsigned_with_zero_point_zero() -> None:
    model = small_net()
    graph = quantise(model, ranges_of(model), CPU).model.graph
    points = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name.endswith("quantised/zero_point")}
    assert points["a.out/quantised/zero_point"] == 0
    assert points["a.out/quantised/zero_point"].dtype == np.uint8
    assert points["image/quantised/zero_point"] > 0


def test_the_output_of_the_graph_stays_float() -> None:
    model = small_net()
    graph = quantise(model, ranges_of(model), CPU).model.graph
    assert next(node for node in graph.node if "head.out" in node.output).op_type == "Conv"


@pytest.mark.parametrize(("bits", "top"), [(7, 63), (8, 127)])
def test_weights_use_the_bits_they_are_given(bits: int, top: int) -> None:
    model = small_net()
    graph = quantise(model, ranges_of(model), CPU, weight_bits=bits).model.graph
    codes = [numpy_helper.to_array(t) for t in graph.initializer if t.name.endswith("/weight")]
    assert max(int(np.abs(c.astype(int)).max()) for c in codes) == top


class TestFloat8:
    """E4M3 codes, which have no zero point."""

    @pytest.fixture
    @staticmethod
    def model():
        made = small_net()
        return made, quantise(made, ranges_of(made, scheme=FP8), FP8).model

    def test_onnx_runtime_computes_what_the_codes_mean(self, model) -> None:
        """With a zero point 1.32 drops the Relu in front, and is as far off as the values are large."""
        made, coded = model
        feed = feeds(1)[0]
        (meant,) = ReferenceEvaluator(coded).run(None, feed)
        assert np.abs(run(coded, feed) - meant).max() < 0.01 * np.abs(meant).max()
        assert sqnr(run(made, feed), run(coded, feed)) > 18

    def test_the_largest_weight_of_a_channel_is_the_largest_code(self, model) -> None:
        _, coded = model
        codes = {tensor.name: numpy_helper.to_array(tensor) for tensor in coded.graph.initializer}
        assert str(codes["a/weight"].dtype) == "float8_e4m3fn"
        assert set(np.abs(codes["a/weight"].astype(np.float32)).max(axis=(1, 2, 3))) == {448}

    def test_it_is_a_valid_graph(self, model) -> None:
        onnx.checker.check_model(model[1], full_check=True)


def test_a_dead_channel_keeps_its_bias() -> None:
    model = small_net()
    weight = next(t for t in model.graph.initializer if t.name == "a.w")
    values = numpy_helper.to_array(weight).copy()
    values[2] = 0
    weight.CopyFrom(numpy_helper.from_array(values, "a.w"))
    feed = feeds()[0]
    quantised = quantise(model, ranges_of(model), CPU, weight_bits=7).model
    assert sqnr(run(model, feed), run(quantised, feed)) > 25


def test_an_empty_calibration_set_is_an_error() -> None:
    model = small_net()
    with pytest.raises(InputError, match="calibration set is empty"):
        observe(model, tensors_to_observe(model), [], threads=1)


def test_a_tensor_that_is_not_finite_is_named() -> None:
    model = small_net()
    weight = next(t for t in model.graph.initializer if t.name == "b.w")
    weight.CopyFrom(numpy_helper.from_array(np.full((16, 8, 3, 3), np.inf, np.float32), "b.w"))
    with pytest.raises(InputError, match=r"tensor b.out: .*NaN or infinity"):
        observe(model, tensors_to_observe(model), feeds(), threads=1)


def test_nodes_without_names_are_told_apart() -> None:
    model = small_net()
    for node in model.graph.node:
        node.name = ""
    result = quantise(model, ranges_of(model), CPU, weight_bits=7)
    assert len(set(result.int8)) == 5
    assert sqnr(run(model, feeds()[0]), run(result.model, feeds()[0])) > 25
