"""Where Q/DQ pairs stand around borders, resizes, norms and sums, and that the runtimes compute so what they should."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.rewriting import model_of, normal, run
from onnx import helper

from visiondeploy.calibration.graph import GraphIndex, never_negative
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import min_max
from visiondeploy.calibration.placement import makes_no_value, place, takes_norm, tensors_to_observe
from visiondeploy.calibration.qdq import Quantised, quantise
from visiondeploy.calibration.rewrite import rewrite
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.pipeline.backends.table import BACKENDS

FEEDS = [{"image": normal(seed, 1, 3, 32, 32)} for seed in range(4)]
CPU = ("cpu", "cpu-onnxruntime")
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1])


def quantised(model: onnx.ModelProto, scheme: str) -> Quantised:
    statistics = observe(model, tensors_to_observe(model), FEEDS, threads=1)
    ranges = {name: min_max(found, SCHEMES[scheme].target) for name, found in statistics.items()}
    result = quantise(model, ranges, SCHEMES[scheme], weight_bits=7)
    onnx.checker.check_model(result.model, full_check=True)
    return result


def bordered(mode: str, value: float | None = None) -> onnx.ModelProto:
    """conv, border, conv."""
    b = graphs.Builder()
    more = [] if value is None else [b.constant(np.array(value, np.float32))]
    x = b.op("Pad", b.conv("image", 8), b.constant(PADS), *more, mode=mode)
    return b.model(b.conv(x, graphs.CLASSES, act=None, pads=0))


def normed(second: str = "Add") -> onnx.ModelProto:
    """conv, and added to it what a norm gives, read by a convolution."""
    b = graphs.Builder()
    x = b.conv("image", 8)
    y = b.op(second, b.normed(b.conv(x, 8, act=None)), x)
    return b.model(b.conv(y, graphs.CLASSES, act=None))


class TestBorders:
    @pytest.mark.parametrize("scheme", CPU)
    @pytest.mark.parametrize(
        ("mode", "value"), [("reflect", None), ("edge", None), ("constant", None), ("constant", 0)]
    )
    def test_what_is_read_is_rounded_and_what_is_given_has_its_scale(self, scheme, mode, value) -> None:
        model = bordered(mode, value)
        found = quantised(model, scheme)
        index = GraphIndex(found.model.graph)
        (pad,) = [node for node in found.model.graph.node if node.op_type == "Pad"]
        before = index.maker(pad.input[0])
        assert before.op_type == ("QuantizeLinear" if scheme == "cpu-onnxruntime" else "DequantizeLinear")
        (behind,) = [node for node in found.model.graph.node if node.name == found.int8[-1]]
        assert np.array_equal(index.constant(index.maker(behind.input[0]).input[1]), index.constant(before.input[1]))
        for feed in FEEDS:
            assert sqnr(run(model, feed["image"]), run(found.model, feed["image"])) > 25

    @pytest.mark.parametrize("scheme", CPU)
    def test_with_another_value_they_stay_in_float(self, scheme) -> None:
        found = quantised(bordered("constant", 0.5), scheme)
        index = GraphIndex(found.model.graph)
        (pad,) = [node for node in found.model.graph.node if node.op_type == "Pad"]
        assert index.readers(pad.output[0])[0].op_type == "QuantizeLinear"

    def test_of_codes_with_a_zero_point_zero_is_that(self) -> None:
        """Behind an image that goes below zero, padded with zeros."""
        b = graphs.Builder()
        model = b.model(
            b.conv(b.op("Pad", "image", b.constant(PADS), mode="constant"), graphs.CLASSES, act=None, pads=0)
        )
        found = quantised(model, "cpu-onnxruntime")
        (pad,) = [node for node in found.model.graph.node if node.op_type == "Pad"]
        point = GraphIndex(found.model.graph).constant(pad.input[2])
        assert point.dtype == np.uint8
        assert point > 0
        assert sqnr(run(model, FEEDS[0]["image"]), run(found.model, FEEDS[0]["image"])) > 25


class TestNorms:
    @pytest.mark.parametrize("scheme", CPU)
    def test_a_sum_with_what_a_norm_gives_is_one_of_floats(self, scheme) -> None:
        found = quantised(normed(), scheme)
        index = GraphIndex(found.model.graph)
        (add,) = [node for node in found.model.graph.node if node.op_type == "Add"]
        made = [index.maker(name).op_type for name in add.input]
        # Of what was not rounded, too.
        assert made == ["InstanceNormalization", "Relu"]
        assert [node.op_type for node in index.readers(add.output[0])] == ["QuantizeLinear"]

    @pytest.mark.parametrize("scheme", CPU)
    def test_another_sum_takes_codes(self, scheme) -> None:
        b = graphs.Builder()
        x = b.conv("image", 8)
        found = quantised(b.model(b.conv(b.op("Add", b.conv(x, 8, act=None), x), graphs.CLASSES, act=None)), scheme)
        index = GraphIndex(found.model.graph)
        (add,) = [node for node in found.model.graph.node if node.op_type == "Add"]
        assert index.maker(add.input[1]).op_type == "DequantizeLinear"

    def test_a_scale_by_channel_does_not_hide_the_norm(self) -> None:
        """The conditional norm of Dumoulin et al. 2017, and AdaIN: factors that are computed."""
        b = graphs.Builder()
        axes = b.constant(np.array([2, 3]))
        x = b.conv("image", 8)
        factor = b.op("ReduceMean", x, axes, keepdims=1)
        y = b.op("Add", b.op("Mul", b.normed(b.conv(x, 8, act=None)), factor), factor)
        model = b.model(b.conv(b.op("Add", y, x), graphs.CLASSES, act=None))
        index = GraphIndex(model.graph)
        assert [takes_norm(index, node) for node in model.graph.node if node.op_type in {"Mul", "Add"}] == [True] * 3
        for scheme in CPU:
            graph = rewrite(model, SCHEMES[scheme].rewrites).graph
            placed = place(graph, SCHEMES[scheme]).tensors
            assert not {
                name for node in graph.node if node.op_type in {"Mul", "InstanceNormalization"} for name in node.output
            } & set(placed)


class TestStyleNetwork:
    @pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
    def test_all_its_products_run_in_integers(self, backend, tmp_path: Path) -> None:
        backend = BACKENDS[backend]
        found = quantised(graphs.style(), backend.scheme)
        assert found.left_in_float == {}
        source, engine = tmp_path / "source", tmp_path / "engine"
        for folder in (source, engine):
            folder.mkdir()
        onnx.save_model(found.model, source / "model.onnx")
        backend.compile(source, engine)
        layers = backend.realised(engine, 1, FEEDS[0]).layers
        assert Counter(layer.compute for layer in layers) == {"int8": 6}
        with backend.load(engine, 1) as session:
            assert sqnr(run(graphs.style(), FEEDS[0]["image"]), session.infer(FEEDS[0])["logits"]) > 20

    def test_onnx_runtime_gets_borders_of_codes_and_no_pair_that_nobody_reads(self) -> None:
        graph = quantised(graphs.style(), "cpu-onnxruntime").model.graph
        read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        assert all(read.intersection(node.output) for node in graph.node)
        index = GraphIndex(graph)
        pads = [node for node in graph.node if node.op_type == "Pad"]
        assert len(pads) == 5
        assert all(index.maker(node.input[0]).op_type == "QuantizeLinear" for node in pads)

    def test_a_wide_last_convolution_is_rounded_and_a_1x1_one_is_not(self) -> None:
        assert quantised(graphs.style(), "cpu-onnxruntime").left_in_float == {}
        (reason,) = quantised(graphs.unet(), "cpu-onnxruntime").left_in_float.values()
        assert "output" in reason

    def test_what_gives_the_output_itself_stays_in_float(self) -> None:
        b = graphs.Builder()
        model = b.model(b.conv(b.conv("image", 8), graphs.CLASSES, act=None))
        left = quantised(model, "cpu-onnxruntime").left_in_float
        assert list(left) == [model.graph.node[-1].name]


def sqnr(reference: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - found) ** 2).sum()))


Step = tuple[str, list[np.ndarray | None], dict[str, object]]
TWICE = np.array([1, 1, 2, 2], np.float32)


def chain(*steps: Step) -> GraphIndex:
    """Operators one behind the other, from "image" to "out"; a constant that is None is left out."""
    nodes, values, source = [], {}, "image"
    for number, (kind, constants, given) in enumerate(steps):
        names = ["" if value is None else f"c{number}.{place}" for place, value in enumerate(constants)]
        values |= {name: value for name, value in zip(names, constants, strict=True) if value is not None}
        made = "out" if number == len(steps) - 1 else f"{number}"
        nodes.append(helper.make_node(kind, [source, *names], [made], **given))
        source = made
    return GraphIndex(model_of(nodes, 3, values).graph)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


RELU: Step = ("Relu", [], {})


@pytest.mark.parametrize(
    ("step", "whether"),
    [
        (("MaxPool", [], {"kernel_shape": [1, 1]}), True),
        (RELU, False),
        (("Resize", [None, TWICE], {"mode": "nearest"}), True),
        (("Resize", [None, TWICE], {"mode": "linear"}), False),
        (("Pad", [PADS], {"mode": "reflect"}), True),
        (("Pad", [PADS, number(1)], {"mode": "constant"}), False),
        (("Pad", [PADS, number(1)], {"mode": "edge"}), True),
    ],
)
def test_what_makes_no_value(step, whether) -> None:
    index = chain(step)
    assert makes_no_value(index, index.graph.node[0]) is whether


@pytest.mark.parametrize(
    ("steps", "whether"),
    [
        ([("Identity", [], {})], False),
        ([RELU], True),
        ([RELU, ("Neg", [], {})], False),
        ([("Clip", [number(0)], {})], True),
        ([("Clip", [number(-1)], {})], False),
        ([("Clip", [], {})], False),
        ([RELU, ("Pad", [PADS], {"mode": "reflect"})], True),
        ([RELU, ("Pad", [PADS, number(1)], {})], True),
        ([RELU, ("Pad", [PADS, number(-1)], {})], False),
        ([("Pad", [PADS], {})], False),
        ([RELU, ("Resize", [None, TWICE], {"mode": "nearest"})], True),
        ([RELU, ("Resize", [None, TWICE], {"mode": "cubic"})], False),
        ([RELU, ("InstanceNormalization", [np.ones(3, np.float32), np.zeros(3, np.float32)], {})], False),
    ],
)
def test_what_is_never_negative(steps, whether) -> None:
    assert never_negative(chain(*steps), "out") is whether


def test_a_concat_is_never_negative_where_all_of_it_is() -> None:
    nodes = [
        helper.make_node("Relu", ["image"], ["a"]),
        helper.make_node("Concat", ["a", "a"], ["b"], axis=1),
        helper.make_node("Concat", ["a", "image"], ["out"], axis=1),
    ]
    index = GraphIndex(model_of(nodes, 3, {}).graph)
    assert never_negative(index, "b")
    assert not never_negative(index, "out")
