"""What is found out of an ONNX file of somebody else, and what is made of it for other precisions."""

from __future__ import annotations

import hashlib

import onnx
import pytest
from kit.foreign import painter, parsed, save
from kit.pixels import Pixels
from onnx import helper

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.spec import GraphSpec, InputSpec
from visiondeploy.pipeline.backends.onnx_file import inputs_of, precision_of, stored_types
from visiondeploy.pipeline.recipe import ModelSettings
from visiondeploy.pipeline.stages.adopt import adopt
from visiondeploy.pipeline.stages.prepare import folded
from visiondeploy.types import Precision, Sample

PLAIN = InputSpec(mean=(0, 0, 0), std=(1, 1, 1))
SAMPLE = Sample("one", Pixels(1)[0].image, None)


def found(model: onnx.ModelProto, folder, size=(48, 64), normalised: InputSpec = PLAIN, **settings: object):
    data = model.SerializeToString()
    given = ModelSettings.model_validate({"name": "onnx", "onnx": "p.onnx", **settings})
    digest = hashlib.sha256(data).hexdigest()
    return adopt(data, "p.onnx", digest, "style", given, size, normalised, SAMPLE, 1, folder)


def graph_of(model: onnx.ModelProto, folder, **settings: object) -> GraphSpec:
    return GraphSpec.model_validate(found(model, folder, **settings)["graph"])


class TestFile:
    def test_is_kept_byte_for_byte_and_described(self, tmp_path) -> None:
        meta = found(painter(styles=3), tmp_path)
        data = (tmp_path / "model.onnx").read_bytes()
        assert data == painter(styles=3).SerializeToString()
        assert meta["graph"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert (meta["opset"], meta["nodes"], meta["sees"]) == (17, 10, True)
        assert meta["parameters"] == 2 * 8 * 27 + 3 * 8 + 3 * 3 + 2

    def test_its_precision_is_read_from_it(self) -> None:
        assert precision_of(painter()) is Precision.FP32
        half = parsed("(float16[1,3,8,8] x, float16[4,3,1,1] w) => (float16[1,4,8,8] y) { y = Conv(x, w) }")
        assert precision_of(half) is Precision.FP16
        codes = parsed(
            "(float[1,3,8,8] x) => (float[1,3,8,8] y) <float s = {0.1}, uint8 z = {0}> "
            "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
        )
        assert precision_of(codes) is Precision.INT8


class TestInputs:
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_the_layout_is_known_by_the_axis_of_three(self, layout, tmp_path) -> None:
        graph = graph_of(painter(layout), tmp_path)
        assert (graph.image, graph.layout, graph.picture.name, graph.picture.layout) == (
            "photo",
            layout,
            "painted",
            layout,
        )

    @pytest.mark.parametrize(
        ("own", "wanted", "size"),
        [
            ((48, 64), (None, None), (48, 64)),
            ((48, 64), (48, 64), (48, 64)),
            (("h", "w"), (40, 56), (40, 56)),
            (("h", 64), (40, None), (40, 64)),
        ],
    )
    def test_the_size_is_the_graphs_or_else_the_recipes(self, own, wanted, size, tmp_path) -> None:
        meta = found(painter(size=own), tmp_path, size=wanted)
        assert (meta["height"], meta["width"]) == size

    def test_another_size_than_the_graphs_is_refused(self, tmp_path) -> None:
        with pytest.raises(UsageError, match=r"p\.onnx takes images of 48×64, and asked for was 64×64: leave --size"):
            found(painter(size=(48, 64)), tmp_path, size=(64, 64))

    def test_weights_that_stand_among_the_inputs_are_none(self, tmp_path) -> None:
        model = painter()
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        assert [value.name for value in inputs_of(model.graph)] == ["photo"]
        assert graph_of(model, tmp_path).constants == ()

    @pytest.mark.parametrize(
        ("inputs", "said"),
        [
            ("float[n,4,h,w] x", "no input for an image, expected is N×3×H×W or N×H×W×3 .* found x \\?×4×\\?×\\? of"),
            ("uint8[1,3,8,8] x", "found x 1×3×8×8 of uint8: export it"),
            ("float[2,3,8,8] x", "input 'x' takes 2 images at once, expected 1 or a free axis"),
        ],
    )
    def test_no_image_is_said(self, inputs, said, tmp_path) -> None:
        model = parsed(f"({inputs}) => ({inputs.replace(' x', ' y')}) {{ y = Identity(x) }}")
        with pytest.raises(InputError, match=said):
            found(model, tmp_path)


class TestFeeds:
    def constant(self, folder, **settings: object):
        (constant,) = graph_of(painter(styles=3), folder, **settings).constants
        return constant

    def test_a_vector_has_a_one_at_its_first_place(self, tmp_path) -> None:
        constant = self.constant(tmp_path)
        assert (constant.name, constant.values, constant.given) == ("style_weights", (1, 0, 0), False)

    @pytest.mark.parametrize("values", [0.5, (0.0, 0.5, 0.5)])
    def test_or_what_the_recipe_says(self, values, tmp_path) -> None:
        constant = self.constant(tmp_path, feeds={"style_weights": values})
        assert (constant.values, constant.given) == (values, True)

    def test_anything_else_is_zeros(self, tmp_path) -> None:
        model = parsed(
            "(float[n,3,h,w] x, float[n,1,1,3] v, int64 k, float[b,4] u) => (float[n,3,h,w] y) "
            "{ f = Cast<to=1>(k) m = ReduceMean<keepdims=0>(v) o = ReduceMean<keepdims=0>(u) "
            "a = Add(x, f) b = Add(a, m) y = Add(b, o) }"
        )
        vector, number, weights = graph_of(model, tmp_path).constants
        assert (vector.values, vector.shape, vector.batched) == (0, (1, 1, 1, 3), True)
        assert (number.values, number.shape, number.dtype) == (0, (), "int64")
        assert (weights.values, weights.shape, weights.batched) == ((1, 0, 0, 0), (1, 4), True)

    def test_too_few_values_are_said(self, tmp_path) -> None:
        with pytest.raises(
            UsageError, match=r"model\.feeds\.style_weights has 2 values, p\.onnx takes 3 \(3 of float\)"
        ):
            self.constant(tmp_path, feeds={"style_weights": (1.0, 0.0)})

    def test_a_name_that_is_no_input_is_said(self, tmp_path) -> None:
        with pytest.raises(UsageError, match=r"names 'weights', no input of p\.onnx .* known: style_weights"):
            self.constant(tmp_path, feeds={"weights": 1.0})

    def test_of_two_pictures_the_one_that_is_fed_is_not_the_image(self, tmp_path) -> None:
        model = parsed("(float[1,3,h,w] a, float[1,3,h,w] b) => (float[1,3,h,w] y) { y = Add(a, b) }")
        assert graph_of(model, tmp_path, size=(1, 1)).image == "a"
        assert graph_of(model, tmp_path, size=(1, 1), feeds={"a": 0.5}).image == "b"

    def test_what_hides_the_image_is_noticed(self, tmp_path) -> None:
        model = parsed("(float[1,3,8,8] x, float[1,1,1,1] v) => (float[1,3,8,8] y) { y = Mul(x, v) }")
        assert found(model, tmp_path, size=(8, 8))["sees"] is False
        assert found(model, tmp_path, size=(8, 8), feeds={"v": 1.0})["sees"] is True


class TestPicture:
    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
    def test_its_values_say_what_is_black_and_white(self, low, high, tmp_path) -> None:
        picture = graph_of(painter(low=low, high=high), tmp_path).picture
        assert (picture.low, picture.high) == (low, high)

    def test_the_recipe_says_it_better(self, tmp_path) -> None:
        picture = graph_of(painter(), tmp_path, black_white=(-1.0, 2.0)).picture
        assert (picture.low, picture.high) == (-1, 2)

    def test_a_vector_is_none(self, tmp_path) -> None:
        model = parsed("(float[1,8,8,3] x) => (float[1,1,1,3] y) { y = ReduceMean<axes=[1,2]>(x) }")
        graph = graph_of(model, tmp_path, size=(8, 8))
        assert (graph.picture, graph.outputs) == (None, ("y",))

    def test_no_numbers_are_said(self, tmp_path) -> None:
        model = parsed("(float[1,3,8,8] x) => (float[1,3,8,8] y) { z = Sub(x, x) y = Div(z, z) }")
        with pytest.raises(InputError, match=r"p\.onnx gives NaN or infinity in 'y' for an image: set input\.mean"):
            found(model, tmp_path, size=(8, 8))

    def test_what_cannot_be_run_is_said(self, tmp_path) -> None:
        model = parsed("(float[1,3,h,w] x) => (float[n,m] y) <int64[2] s = {7,-1}> { y = Reshape(x, s) }")
        with pytest.raises(InputError, match=r"p\.onnx cannot be run on an image of 8×8 .*: try another --size"):
            found(model, tmp_path, size=(8, 8))


class TestPrepared:
    def test_constants_are_initializers_and_batch_norm_is_in_its_convolution(self) -> None:
        made = folded(painter(styles=3, as_constants=True), "p.onnx")
        kinds = {node.op_type for node in made.graph.node}
        assert not kinds & {"Constant", "BatchNormalization"}
        assert sum(tensor.dims[1:] == [3, 3, 3] for tensor in made.graph.initializer) == 1
        assert [value.name for value in made.graph.input] == ["photo", "style_weights"]

    def test_an_old_opset_is_raised_to_one_that_has_scales_for_channels(self) -> None:
        made = folded(painter(opset=11), "p.onnx")
        assert made.opset_import[0].version == 13

    def test_types_of_weights_in_nodes_are_known(self, tmp_path) -> None:
        assert stored_types(save(painter(as_constants=True), tmp_path / "p.onnx")) == {"fp32": 2}

    def test_what_cannot_be_folded_is_said(self) -> None:
        broken = painter(opset=11)
        broken.graph.node[0].op_type = "Convolve"
        with pytest.raises(InputError, match=r"p\.onnx cannot be brought into another precision"):
            folded(broken, "p.onnx")
