"""What OpenVINO is given to read and to write, and which shapes it is compiled for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends import openvino_session
from visiondeploy.pipeline.backends.openvino_session import FIXED, OpenVinoSession, read

openvino = pytest.importorskip("openvino")


def session(folder, axes: str, outputs=("y", "z")) -> OpenVinoSession:
    """Of a graph with one input of these axes and two outputs."""
    text = f"(float[{axes}] x) => (float[{axes}] y, float[{axes}] z) {{ y = Relu(x) z = Neg(x) }}"
    onnx.save_model(
        onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> g {text}'), folder / "model.onnx"
    )
    return OpenVinoSession(read(folder / "model.onnx"), 1, ["x"], list(outputs))


@pytest.fixture
def compilations(monkeypatch) -> list[object]:
    """The shapes that models were compiled for."""
    seen: list[object] = []
    real = openvino_session.compiled

    def compiled(model, threads, shapes=None):
        seen.append(shapes and shapes["x"])
        return real(model, threads, shapes)

    monkeypatch.setattr(openvino_session, "compiled", compiled)
    return seen


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.fixture
def tensors(monkeypatch) -> list[int]:
    """The addresses of the memory behind each tensor that OpenVINO is given."""
    seen: list[int] = []
    real = openvino.Tensor

    def tensor(array, shape, kind):
        made = real(array, shape, kind)
        seen.append(address(made.data))
        return made

    monkeypatch.setattr(openvino, "Tensor", tensor)
    return seen


@pytest.mark.parametrize("writable", [True, False])
def test_it_reads_where_the_feed_lies_and_writes_what_the_caller_reads(tmp_path, tensors, writable) -> None:
    feed = image(1, 3, 8, 8)
    feed.flags.writeable = writable
    with session(tmp_path, "n,3,8,8") as ours:
        found = ours.infer({"x": feed})
    assert tensors == [address(feed), address(found["y"]), address(found["z"])]


def test_memory_of_results_that_were_dropped_is_written_again(tmp_path) -> None:
    feeds = {"x": image(1, 3, 8, 8)}
    with session(tmp_path, "n,3,8,8") as ours:
        first = {name: address(array) for name, array in ours.infer(feeds).items()}
        held = ours.infer(feeds)
        assert {name: address(array) for name, array in held.items()} == first
        assert {name: address(array) for name, array in ours.infer(feeds).items()} != first


def test_it_is_compiled_for_one_image_before_the_first_call_and_then_for_what_it_is_fed(tmp_path, compilations) -> None:
    with session(tmp_path, "n,3,8,8") as ours:
        assert compilations == [(1, 3, 8, 8)]
        for batch in (1, 4, 1, 4):
            ours.infer({"x": image(batch, 3, 8, 8)})
    assert compilations == [(1, 3, 8, 8), (4, 3, 8, 8)]


def test_many_shapes_share_a_model_with_free_axes(tmp_path, compilations) -> None:
    with session(tmp_path, "n,3,h,w") as ours:
        assert compilations == [None]
        for size in (*range(2, 9), 2):
            feed = image(1, 3, size, 2 * size)
            found = ours.infer({"x": feed})
            assert np.array_equal(found["y"], feed.clip(0))
            assert np.array_equal(found["z"], -feed)
    assert len(compilations) == 1 + FIXED


def test_results_of_free_axes_are_held_as_well(tmp_path) -> None:
    feeds = [image(1, 3, size, size) for size in (*range(2, 9), 8, 8)]
    with session(tmp_path, "n,3,h,w") as ours:
        held = [ours.infer({"x": feed})["z"] for feed in feeds]
        assert all(np.array_equal(found, -feed) for found, feed in zip(held, feeds, strict=True))


def test_a_failed_call_leaves_the_session_as_it_was(tmp_path) -> None:
    feed = image(1, 3, 8, 8)
    text = "(float[n,3,8,8] x) => (float[n,3,4,4] y) { y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> g {text}')
    onnx.save_model(model, tmp_path / "model.onnx")
    with OpenVinoSession(read(tmp_path / "model.onnx"), 1, ["x"], ["y"]) as ours:
        expected = ours.infer({"x": feed})["y"]
        with pytest.raises(InputError, match="OpenVINO does not compile the model: Batch size is zero"):
            ours.infer({"x": image(0, 3, 8, 8)})
        assert np.array_equal(ours.infer({"x": feed})["y"], expected)


def test_an_output_that_the_engine_lacks_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="has no input or output 'logits': build it anew"):
        session(tmp_path, "n,3,8,8", outputs=["logits"])
