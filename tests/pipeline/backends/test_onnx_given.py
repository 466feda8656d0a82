"""ONNX files that people give: each that is bad gets one sentence, which says what was found."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from kit.foreign import painter, parsed, save
from kit.pixels import Pixels
from onnx import TensorProto, numpy_helper
from PIL import Image as Pillow

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.onnx_given import parse_given, read_given


def sentence(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        parse_given(data, "photo.onnx")
    text = str(caught.value)
    assert text.startswith("photo.onnx")
    assert "\n" not in text
    assert len(text) < 400
    return text


def changed(change) -> str:
    model = painter()
    change(model)
    return sentence(model.SerializeToString())


def test_a_good_file_is_read(tmp_path) -> None:
    path = save(painter(styles=3), tmp_path / "photo.onnx")
    assert len(parse_given(read_given(path), "photo.onnx").graph.node) == len(painter(styles=3).graph.node)


class TestFiles:
    def test_that_are_not_there_or_are_none(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"there is no file .*gone\.onnx, expected an ONNX file"):
            read_given(tmp_path / "gone.onnx")
        with pytest.raises(InputError, match="is a folder, expected an ONNX file"):
            read_given(tmp_path)
        (tmp_path / "empty.onnx").touch()
        with pytest.raises(InputError, match=r"empty\.onnx is empty, expected an ONNX file"):
            read_given(tmp_path / "empty.onnx")

    def test_a_pipe_is_not_waited_for(self, tmp_path) -> None:
        os.mkfifo(tmp_path / "pipe.onnx")
        with pytest.raises(InputError, match="not a regular file"):
            read_given(tmp_path / "pipe.onnx")

    def test_larger_than_a_message_can_be(self, tmp_path) -> None:
        with (tmp_path / "large.onnx").open("wb") as file:
            file.truncate((1 << 31) + 10)
        with pytest.raises(InputError, match=r"large\.onnx is larger than 2 GB"):
            read_given(tmp_path / "large.onnx")


class TestContents:
    def test_cut_off(self) -> None:
        data = painter().SerializeToString()
        assert "not a whole ONNX file" in sentence(data[: len(data) // 2])

    def test_a_picture_with_another_name(self, tmp_path) -> None:
        Pillow.fromarray(Pixels(1)[0].image).save(tmp_path / "x.png")
        assert "ONNX file" in sentence((tmp_path / "x.png").read_bytes())

    def test_a_newer_opset(self) -> None:
        def newer(model: onnx.ModelProto) -> None:
            model.opset_import[0].version = 999

        assert "has opset 999, this onnx knows" in changed(newer)

    def test_an_unknown_operator(self) -> None:
        def unknown(model: onnx.ModelProto) -> None:
            model.graph.node[0].op_type = "Convolve"

        assert "is not valid ONNX (No Op registered for Convolve" in changed(unknown)

    def test_nodes_in_a_circle(self) -> None:
        def circle(model: onnx.ModelProto) -> None:
            model.graph.node[0].input[0] = "r"

        assert "is not valid ONNX (Nodes in a graph must be topologically sorted" in changed(circle)

    def test_two_weights_of_one_name(self) -> None:
        def twice(model: onnx.ModelProto) -> None:
            model.graph.initializer.add().CopyFrom(model.graph.initializer[0])

        assert "two weights that are called 'first'" in changed(twice)

    @pytest.mark.parametrize("as_constants", [False, True])
    def test_weights_that_are_no_numbers(self, as_constants) -> None:
        model = painter(as_constants=as_constants)
        held = model.graph.node[0].attribute[0].t if as_constants else model.graph.initializer[0]
        broken = numpy_helper.to_array(held).copy()
        broken.flat[0] = np.nan
        held.CopyFrom(numpy_helper.from_array(broken, "first"))
        assert "weight 'first' holds NaN" in sentence(model.SerializeToString())

    def test_a_weight_that_is_too_short(self) -> None:
        def short(model: onnx.ModelProto) -> None:
            model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]

        assert "weight 'first' is damaged" in changed(short)

    @pytest.mark.parametrize("place", ["../secret", "/etc/passwd", "beside.data"])
    def test_weights_in_other_files_are_not_followed(self, place) -> None:
        def elsewhere(model: onnx.ModelProto) -> None:
            tensor = model.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=place)

        assert "keeps weights in another file ('first'), expected one file" in changed(elsewhere)

    def test_an_axis_without_values(self) -> None:
        model = parsed("(float[1,3,0,8] x) => (float[1,3,0,8] y) { y = Relu(x) }")
        assert "input 'x' has an axis of size 0" in sentence(model.SerializeToString())
