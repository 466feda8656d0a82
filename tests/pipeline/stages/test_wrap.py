"""Graphs that take raw images, run by the real runtimes beside the bare network."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.networks import spec_of
from kit.photos import photos
from onnx import TensorProto, helper, numpy_helper

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import load_network, new_network, read_spec, save_network
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.table import BACKENDS, REFERENCES
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import export, save_onnx
from visiondeploy.pipeline.stages.wrap import FLATTENED_BELOW, PREFIX, wrap, wrap_onnx
from visiondeploy.types import Ending

RUNTIMES = ("onnxruntime", "openvino")
SIZE = (32, 48)


def spec_with(classes: int) -> NetworkSpec:
    """What is known of a graph with raw images in front and so many classes."""
    spec = spec_of("unet")
    names = tuple(f"class {number}" for number in range(classes))
    palette = tuple((number, 0, 0) for number in range(classes))
    return spec.model_copy(update={"classes": names, "palette": palette, "io": "uint8"})


def feeds_of(spec: NetworkSpec, count: int = 1, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random images, normalised and raw."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    bare = spec.model_copy(update={"io": "float32"})
    return task_of(bare).preprocess(photos(*images)), task_of(spec).preprocess(photos(*images))


def linear(classes: int, free: tuple[int, ...] = (0,), weights: np.ndarray | None = None) -> onnx.ModelProto:
    """Logits that are sums of the image's channels."""
    if weights is None:
        weights = np.random.default_rng(1).normal(size=(classes, 3, 1, 1))
    axes = ["batch", "rows", "columns"]
    size = {0: axes[0], 2: axes[1], 3: axes[2]}

    def shape(channels: int) -> list[int | str]:
        return [size[axis] if axis in free else fixed for axis, fixed in enumerate((1, channels, *SIZE))]

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weights"], ["logits"], name="head")],
        "linear",
        [value("image", TensorProto.FLOAT, shape(3))],
        [value("logits", TensorProto.FLOAT, shape(classes))],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def wrapped(model: onnx.ModelProto, spec: NetworkSpec) -> onnx.ModelProto:
    made = wrap_onnx(model, task_of(spec), spec.input)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(runtime: str, model: onnx.ModelProto, feeds: dict[str, np.ndarray], folder) -> dict[str, np.ndarray]:
    source, engine = folder / "source", folder / "engine"
    for place in (source, engine):
        place.mkdir(parents=True)
    save_onnx(model, source / "model.onnx")
    BACKENDS[runtime].compile(source, engine)
    with BACKENDS[runtime].load(engine, 1) as session:
        return session.infer(feeds)


def described(value: onnx.ValueInfoProto) -> tuple[str, int, list[int | str]]:
    shape = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
    return value.name, value.type.tensor_type.elem_type, shape


@pytest.mark.parametrize("runtime", RUNTIMES)
class TestGraph:
    @pytest.mark.parametrize("classes", [1, 3, FLATTENED_BELOW - 1, FLATTENED_BELOW, 21, 255])
    def test_the_classes_are_those_of_the_bare_network(self, runtime, classes, tmp_path) -> None:
        spec, model = spec_with(classes), linear(classes)
        normalised, raw = feeds_of(spec, count=2)
        before = run(runtime, model, normalised, tmp_path / "bare")
        after = run(runtime, wrapped(model, spec), raw, tmp_path / "wrapped")
        (found,) = after.values()
        assert (list(after), found.dtype, found.shape) == (["classes"], np.uint8, (2, *SIZE))
        assert np.array_equal(found, task_of(spec).finish(before)["classes"])
        assert len(np.unique(found)) >= min(classes, 3)

    @pytest.mark.parametrize("classes", [3, FLATTENED_BELOW])
    def test_what_is_free_stays_free(self, runtime, classes, tmp_path) -> None:
        spec, model = spec_with(classes), linear(classes, free=(0, 2, 3))
        made = wrapped(model, spec)
        assert described(made.graph.input[0]) == ("image", TensorProto.UINT8, ["batch", "rows", "columns", 3])
        assert described(made.graph.output[0]) == ("classes", TensorProto.UINT8, ["batch", "rows", "columns"])
        bare = spec.model_copy(update={"io": "float32"})
        for number, size in enumerate([(7, 9), (20, 33)]):
            here = {"input": spec.input.model_copy(update={"height": size[0], "width": size[1]})}
            image = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            feeds = [task_of(s.model_copy(update=here)).preprocess(photos(image, image, image)) for s in (bare, spec)]
            before = run(runtime, model, feeds[0], tmp_path / f"bare{number}")
            after = run(runtime, made, feeds[1], tmp_path / f"wrapped{number}")
            assert np.array_equal(after["classes"], task_of(spec).finish(before)["classes"])

    @pytest.mark.parametrize("classes", [3, FLATTENED_BELOW])
    def test_of_equal_logits_the_first_wins(self, runtime, classes, tmp_path) -> None:
        weights = np.zeros((classes, 3, 1, 1))
        weights[1:] = np.random.default_rng(0).normal(size=(1, 3, 1, 1))
        spec = spec_with(classes)
        found = run(runtime, wrapped(linear(classes, weights=weights), spec), feeds_of(spec)[1], tmp_path)["classes"]
        assert set(np.unique(found)) == {0, 1}

    @pytest.mark.parametrize("scheme", ["cpu", "cpu-onnxruntime"])
    def test_with_q_dq_inside(self, runtime, scheme, tmp_path) -> None:
        """The int8 graph of a UNet whose classes are near each other."""
        from visiondeploy.calibration.observe import observe
        from visiondeploy.calibration.observers import min_max
        from visiondeploy.calibration.placement import tensors_to_observe
        from visiondeploy.calibration.qdq import quantise
        from visiondeploy.calibration.schemes import SCHEMES

        spec = spec_with(graphs.CLASSES)
        spec = spec.model_copy(update={"input": spec.input.model_copy(update={"height": 32, "width": 32})})
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        raw = task_of(spec).preprocess(photos(image))
        normalised = task_of(spec.model_copy(update={"io": "float32"})).preprocess(photos(image))
        fp32 = graphs.unet()
        seen = observe(fp32, tensors_to_observe(fp32), [normalised], threads=1)
        ranges = {name: min_max(found, SCHEMES[scheme].target) for name, found in seen.items()}
        model = quantise(fp32, ranges, SCHEMES[scheme], 8).model
        before = run(runtime, model, normalised, tmp_path / "bare")
        after = run(runtime, wrapped(model, spec), raw, tmp_path / "wrapped")
        expected = task_of(spec).finish(before)["classes"]
        assert np.bincount(expected.ravel()).max() < 0.9 * expected.size
        assert np.mean(after["classes"] == expected) > 0.999


class TestNodes:
    def test_the_network_sees_the_bits_that_preprocessing_makes(self, tmp_path) -> None:
        """Every value of a pixel in every channel."""
        spec = spec_with(3)
        made = wrapped(linear(3), spec)
        head = next(node for node in made.graph.node if node.name == "head")
        made.graph.output.append(helper.make_tensor_value_info(head.input[0], TensorProto.FLOAT, None))
        image = (np.arange(32 * 48 * 3).reshape(32, 48, 3) // 3 % 256).astype(np.uint8)
        found = run("onnxruntime", made, {"image": image[None]}, tmp_path)[head.input[0]]
        expected = task_of(spec.model_copy(update={"io": "float32"})).preprocess(photos(image))["image"]
        assert np.array_equal(found, expected)

    def test_those_of_the_network_stay_as_they_are(self) -> None:
        model = graphs.unet()
        made = wrap_onnx(model, task_of(spec_with(graphs.CLASSES)), spec_with(graphs.CLASSES).input)
        inside = [node for node in made.graph.node if not node.name.startswith(PREFIX)]
        assert len(inside) == len(model.graph.node) < len(made.graph.node)
        for before, after in zip(model.graph.node, inside, strict=True):
            if "image" in before.input:
                assert after.input[0].startswith(PREFIX)
                after.input[0] = "image"
            assert after == before

    def test_the_given_graph_is_not_changed(self) -> None:
        model = linear(3)
        before = model.SerializeToString()
        one, two = (wrap_onnx(model, task_of(spec_with(3)), spec_with(3).input) for _ in range(2))
        assert model.SerializeToString() == before
        assert one.SerializeToString() == two.SerializeToString(), "keys of later stages hang on it"

    def test_a_graph_that_is_wrapped_already_is_refused(self) -> None:
        spec = spec_with(3)
        with pytest.raises(InputError, match="takes raw images already"):
            wrapped(wrapped(linear(3), spec), spec)

    def test_so_is_one_of_several_outputs(self) -> None:
        model = linear(3)
        model.graph.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, None))
        with pytest.raises(InputError, match="1 inputs and 2 outputs cannot take raw images"):
            wrapped(model, spec_with(3))

    def test_a_task_without_an_ending_has_no_such_graph(self) -> None:
        spec = spec_with(3)
        with pytest.raises(InputError, match="ends with the network itself"):
            wrap_onnx(linear(3), task_of(spec.model_copy(update={"io": "float32"})), spec.input)


def test_every_ending_is_known_to_onnx_and_to_pytorch() -> None:
    from visiondeploy.models import served
    from visiondeploy.pipeline.stages.wrap import ENDINGS

    assert set(ENDINGS) == set(served.ENDINGS) == set(Ending)


class TestStage:
    @pytest.fixture(scope="class")
    @staticmethod
    def sources(tmp_path_factory):
        """A network and its exports."""
        network, exported = tmp_path_factory.mktemp("network"), tmp_path_factory.mktemp("exported")
        spec = spec_of("unet")
        made = new_network(spec, seed=0)
        save_network(type(made)(made.module, spec.model_copy(update={"trained_steps": 7})), network)
        export(network, [feeds_of(spec_with(3))[0]], ExportSettings(), 1, exported)
        return {"network": network, "torchscript": exported, "onnx": exported}

    @pytest.mark.parametrize("kind", REFERENCES)
    def test_whatever_a_network_is_kept_as_not_one_class_changes(self, sources, kind, tmp_path) -> None:
        spec = spec_with(3)
        pairs = [feeds_of(spec, seed=seed) for seed in range(2)]
        found = wrap(sources[kind], kind, spec, [p[0] for p in pairs], [p[1] for p in pairs], 1, tmp_path)
        row = found["parity"][kind]
        assert (row["outputs"], row["exact"], row["pixels"], row["samples"]) == ("classes", True, 1.0, 2)
        json.dumps(found, allow_nan=False)
        with BACKENDS[REFERENCES[kind]].load(tmp_path, 1) as session:
            assert [(s.name, s.dtype, s.shape[1:]) for s in session.inputs] == [("image", "uint8", (*SIZE, 3))]
            assert [(s.name, s.dtype, s.shape[1:]) for s in session.outputs] == [("classes", "uint8", SIZE)]

    def test_a_wrapped_network_is_the_same_network(self, sources, tmp_path) -> None:
        pair = feeds_of(spec_with(3))
        wrap(sources["network"], "network", spec_with(3), [pair[0]], [pair[1]], 1, tmp_path)
        weights = "weights.safetensors"
        assert (tmp_path / weights).read_bytes() == (sources["network"] / weights).read_bytes()
        before, after = read_spec(sources["network"]), load_network(tmp_path).spec
        assert after == before.model_copy(update={"io": "uint8"})
