"""Contracts from networks' descriptions and ONNX files, and files that say something else."""

from __future__ import annotations

import onnx
import pytest
from kit.foreign import painter, save
from onnx import TensorProto, helper

from visiondeploy.errors import InputError
from visiondeploy.models.spec import GraphSpec, InputSpec, NetworkSpec, PictureOutput, StyleSpec
from visiondeploy.pipeline.bundle.contract import FREE, batched, contract_of, lint, normalised_range
from visiondeploy.types import Precision

CLASSES = ("road", "car", "person")
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
SIZE = InputSpec(height=32, width=48)
STYLE = StyleSpec(names=("waves", "stars"), digests=("0", "1"), features="tiny", weights="2", size=64)

SEGMENTATION = NetworkSpec(architecture="unet", classes=CLASSES, palette=PALETTE, input=SIZE)
MULTI = NetworkSpec(architecture="style-multi", task="style", style=STYLE, input=SIZE)

Port = tuple[str, int, list[int | str]]


def file(path, inputs: list[Port], outputs: list[Port]):
    """An ONNX file that declares these; what it computes is no matter."""
    values = [[helper.make_tensor_value_info(*port) for port in ports] for ports in (inputs, outputs)]
    nodes = [helper.make_node("Identity", [inputs[0][0]], [port[0]]) for port in outputs]
    onnx.save_model(helper.make_model(helper.make_graph(nodes, "g", *values)), path)
    return path


FLOAT, BYTE = TensorProto.FLOAT, TensorProto.UINT8
IMAGE: Port = ("image", FLOAT, ["batch", 3, 32, 48])
LOGITS: Port = ("logits", FLOAT, ["batch", 3, 32, 48])


@pytest.fixture
def floats(tmp_path):
    return file(tmp_path / "model.onnx", [IMAGE], [LOGITS])


class TestSegmentation:
    def test_floats(self, floats) -> None:
        found = contract_of(SEGMENTATION, floats)
        (image,), (logits,) = found.inputs, found.outputs
        assert (image.name, image.dtype, image.shape, image.layout) == ("image", "float32", (FREE, 3, 32, 48), "NCHW")
        assert (image.low, image.high) == normalised_range(SIZE)
        assert (logits.name, logits.low, logits.layout) == ("logits", None, "NCHW")
        assert (found.classes, found.palette, found.ignore_index, found.styles) == (CLASSES, PALETTE, 255, ())
        how = found.preprocessing
        assert (how.height, how.width, how.mean, how.std, how.done) == (32, 48, SIZE.mean, SIZE.std, False)
        assert how.resize == "the whole image, bilinear, antialiased"
        assert batched(found)

    def test_bytes(self, tmp_path) -> None:
        path = file(tmp_path / "m.onnx", [("image", BYTE, ["b", 32, 48, 3])], [("classes", BYTE, ["b", 32, 48])])
        found = contract_of(SEGMENTATION.model_copy(update={"io": "uint8"}), path)
        (image,), (classes,) = found.inputs, found.outputs
        assert (image.dtype, image.layout, image.low, image.high) == ("uint8", "NHWC", 0, 255)
        assert (classes.dtype, classes.layout, classes.low, classes.high) == ("uint8", "NHW", 0, 2)
        assert found.preprocessing.done


def test_the_range_is_that_of_black_and_white_over_the_channels() -> None:
    low, high = normalised_range(InputSpec(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 0.25)))
    assert (low, high) == (-1.0, 4.0)


def test_styles_are_weighed_by_an_input_of_their_own(tmp_path) -> None:
    path = file(tmp_path / "m.onnx", [IMAGE, ("weights", FLOAT, ["batch", 2])], [("picture", FLOAT, IMAGE[2])])
    found = contract_of(MULTI, path)
    weights = found.inputs[1]
    assert (weights.shape, weights.low, weights.high) == ((FREE, 2), 0, 1)
    assert "waves, stars" in weights.meaning
    assert found.styles == ("waves", "stars")
    assert (found.outputs[0].low, found.outputs[0].high) == (0, 1)
    assert found.ignore_index is None
    assert batched(found)


class TestOfSomebodyElse:
    def spec(self, layout="NHWC", **fields) -> NetworkSpec:
        graph = GraphSpec(
            file="painter.onnx",
            sha256=64 * "0",
            precision=Precision.FP32,
            image="photo",
            layout=layout,
            outputs=("painted",),
            picture=PictureOutput(name="painted", layout=layout, low=-1, high=1),
        )
        style = StyleSpec(names=(), digests=(), features=None, weights=None, size=64)
        return NetworkSpec(architecture="onnx", task="style", style=style, input=SIZE, graph=graph, **fields)

    def test_names_layout_and_range_are_its_own(self, tmp_path) -> None:
        found = contract_of(self.spec(), save(painter("NHWC", low=-1.0), tmp_path / "painter.onnx"))
        (photo,), (painted,) = found.inputs, found.outputs
        assert (photo.name, photo.layout, photo.shape) == ("photo", "NHWC", (FREE, FREE, FREE, 3))
        assert (painted.name, painted.layout, painted.low, painted.high) == ("painted", "NHWC", -1, 1)
        assert painted.shape == (FREE,) * 4

    def test_an_input_without_a_batch_keeps_requests_apart(self, tmp_path) -> None:
        path = save(painter("NCHW", styles=3), tmp_path / "painter.onnx")
        found = contract_of(self.spec("NCHW"), path)
        assert found.inputs[1].shape == (3,)
        assert not batched(found)

    def test_a_type_that_has_no_name_is_refused(self, tmp_path) -> None:
        path = file(tmp_path / "m.onnx", [("photo", TensorProto.DOUBLE, [1, 4, 4, 3])], [("painted", FLOAT, [1])])
        with pytest.raises(InputError, match="'photo' is of type float64"):
            contract_of(self.spec(), path)


class TestLint:
    def test_the_file_itself_agrees(self, floats) -> None:
        assert lint(contract_of(SEGMENTATION, floats), floats) == ()

    @pytest.mark.parametrize(
        ("inputs", "outputs", "said"),
        [
            ([("photo", *IMAGE[1:])], [LOGITS], "the inputs of model.onnx are photo, the contract says image"),
            ([IMAGE], [("Logits", *LOGITS[1:])], "the outputs of model.onnx are Logits, the contract says logits"),
            ([IMAGE], [LOGITS, ("more", *LOGITS[1:])], "the outputs of model.onnx are logits, more"),
            (
                [("image", BYTE, IMAGE[2])],
                [LOGITS],
                "'image' is uint8 ?×3×32×48 in model.onnx, the contract says ",
            ),
            ([("image", FLOAT, ["b", 3, 32, 47])], [LOGITS], "'image' is float32 ?×3×32×47"),
            ([("image", FLOAT, [1, 3, 32, 48])], [LOGITS], "'image' is float32 1×3×32×48"),
            ([IMAGE], [("logits", FLOAT, ["b", 3, 32])], "'logits' is float32 ?×3×32 in"),
        ],
    )
    def test_another_file_does_not(self, floats, tmp_path, inputs, outputs, said) -> None:
        contract = contract_of(SEGMENTATION, floats)
        (tmp_path / "other").mkdir()
        problems = lint(contract, file(tmp_path / "other" / "model.onnx", inputs, outputs))
        assert len(problems) == 1
        assert problems[0].startswith(said)
