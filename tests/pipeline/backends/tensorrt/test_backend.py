"""An engine with its sidecar: what is checked before TensorRT sees a byte of it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from kit.builds import flip
from kit.pixels import PixelTask
from kit.rtx import FEEDS, NETWORKS, needs_rtx, no_gpu, save

from visiondeploy.errors import BackendUnavailable, EnvironmentMismatch, InputError, IntegrityError
from visiondeploy.pipeline.backends.base import require
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.backends.tensorrt import backend as module
from visiondeploy.pipeline.backends.tensorrt.device import Device, NoDevice
from visiondeploy.pipeline.backends.tensorrt.flavour import TENSORRT_RTX, Flavour
from visiondeploy.pipeline.backends.tensorrt.sidecar import PLAN, SIDECAR, read_sidecar
from visiondeploy.pipeline.engine import EngineSettings
from visiondeploy.pipeline.stages.compile import compile_engine
from visiondeploy.types import Precision

RTX, CLASSIC = BACKENDS["tensorrt-rtx"], BACKENDS["tensorrt"]

L4 = Device("NVIDIA L4", "sm_89", 13000)
T4 = Device("Tesla T4", "sm_75", 13000)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The source and the engine of a UNet in fp16 for two GPUs."""
    source = save(NETWORKS["unet"](), Precision.FP16, tmp_path_factory.mktemp("unet"))
    folder = tmp_path_factory.mktemp("engine")
    RTX.compile(source, folder, EngineSettings(targets=("8.9", "sm_86"), batch=(1, 2, 4), workspace_mib=256))
    return source, folder


@pytest.fixture
def engine(made, tmp_path) -> Path:
    """A copy that may be damaged."""
    for path in made[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as the backend can tell, on which nothing may be deserialised."""

    def place(found: Device) -> None:
        monkeypatch.setattr(module, "find_device", lambda: found)
        monkeypatch.setattr(module, "not_installed", lambda *names, **extra: None)

    return place


def no_release(self: Flavour) -> None:
    raise AssertionError("TensorRT was asked for before the bytes were checked")


def edit(folder: Path, **changes: object) -> None:
    path = folder / SIDECAR
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@needs_rtx
class TestSidecar:
    def test_says_what_the_engine_is_and_what_it_is_from(self, made) -> None:
        source, folder = made
        found = read_sidecar(folder)
        assert (found.flavour, found.release) == ("tensorrt-rtx", TENSORRT_RTX.module().__version__)
        assert (found.targets, found.device) == (("sm_86", "sm_89"), None)
        (profile,) = found.profiles
        assert (profile["image"].min, profile["image"].opt, profile["image"].max) == (
            (1, 3, 32, 32),
            (2, 3, 32, 32),
            (4, 3, 32, 32),
        )
        assert [(port.name, port.dtype, port.shape) for port in (*found.inputs, *found.outputs)] == [
            ("image", "float32", ("batch", 3, 32, 32)),
            ("logits", "float32", ("batch", 5, 32, 32)),
        ]
        assert found.settings["workspace_mib"] == 256
        for record, path in ((found.plan, folder / PLAN), (found.onnx["model.onnx"], source / "model.onnx")):
            data = path.read_bytes()
            assert (record.sha256, record.size) == (hashlib.sha256(data).hexdigest(), len(data))

    def test_holds_the_types_of_every_layer(self, made) -> None:
        found = read_sidecar(made[1])
        assert {(layer.compute, layer.wanted, layer.provider) for layer in found.layers} == {("fp16", "fp16", "cuda")}
        convolutions = [layer for layer in found.engine_layers if layer.kind == "correlation"]
        assert len(convolutions) == 11
        for layer in convolutions:
            assert layer.nodes
            assert [port.dtype for port in (*layer.inputs, *layer.outputs)] == ["fp16", "fp16"]
        realised = RTX.realised(made[1], 1, FEEDS[0])
        assert (realised.counts(), realised.stored) == ({"fp16": 13}, {"fp16": 13})

    def test_is_the_same_when_it_is_built_again(self, made, tmp_path) -> None:
        source, folder = made
        RTX.compile(source, tmp_path, EngineSettings(targets=("sm_86", "sm_89"), batch=(1, 2, 4), workspace_mib=256))
        for name in (PLAN, SIDECAR):
            assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()

    def test_names_the_weights_that_lie_beside_the_graph(self, made, tmp_path) -> None:
        import onnx

        source, folder = tmp_path / "source", tmp_path / "engine"
        source.mkdir()
        folder.mkdir()
        model = onnx.load(made[0] / "model.onnx")
        onnx.save_model(
            model, source / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0
        )
        RTX.compile(source, folder)
        assert set(read_sidecar(folder).onnx) == {"model.onnx", "model.data"}
        assert RTX.realised(folder, 1, FEEDS[0]).counts() == {"fp16": 13}


@needs_rtx
class TestLoading:
    """Nothing here runs an engine: for that a GPU would be needed. Each of these ends before a byte is deserialised."""

    def test_a_plan_with_another_bit(self, engine, gpu, monkeypatch) -> None:
        gpu(L4)
        flip(engine / PLAN)
        monkeypatch.setattr(Flavour, "module", no_release)
        with pytest.raises(IntegrityError, match=r"model\.plan has the digest .*: it is not loaded; build it again"):
            RTX.load(engine, 1)

    def test_half_a_plan(self, engine) -> None:
        (engine / PLAN).write_bytes((engine / PLAN).read_bytes()[:1000])
        with pytest.raises(IntegrityError, match="it is not loaded"):
            RTX.load(engine, 1)

    def test_no_plan(self, engine) -> None:
        (engine / PLAN).unlink()
        with pytest.raises(InputError, match=r"model\.plan cannot be read \(No such file"):
            RTX.load(engine, 1)

    @pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": "visiondeploy.engine/9"}', "\x00"])
    def test_a_sidecar_that_is_none(self, engine, content) -> None:
        (engine / SIDECAR).write_text(content)
        with pytest.raises(InputError, match=r"engine\.json does not describe an engine \(.*\): build it again"):
            RTX.load(engine, 1)

    def test_no_sidecar(self, engine) -> None:
        (engine / SIDECAR).unlink()
        with pytest.raises(InputError, match=r"engine\.json cannot be read \(No such file.*no plan is loaded without"):
            RTX.load(engine, 1)

    def test_of_another_release(self, engine, gpu) -> None:
        gpu(L4)
        edit(engine, release="1.6.0.5")
        here = TENSORRT_RTX.module().__version__
        with pytest.raises(EnvironmentMismatch) as error:
            RTX.load(engine, 1)
        assert f"was built by TensorRT-RTX 1.6.0.5, and {here}, which is here, does not read it" in str(error.value)
        assert "pip install tensorrt-rtx==1.6.0.5" in str(error.value)

    def test_of_the_other_tensorrt(self, engine, gpu, monkeypatch) -> None:
        gpu(L4)
        monkeypatch.setattr(Flavour, "module", lambda self: SimpleNamespace(__version__="11.4.0"))
        with pytest.raises(EnvironmentMismatch, match="is an engine of tensorrt-rtx, and tensorrt does not read it"):
            CLASSIC.load(engine, 1)

    def test_for_another_gpu(self, engine, gpu) -> None:
        gpu(T4)
        with pytest.raises(EnvironmentMismatch) as error:
            RTX.load(engine, 1)
        assert "was built for sm_86, sm_89, and Tesla T4 is sm_75: build it again" in str(error.value)
        assert "--target sm_75" in str(error.value)

    def test_built_on_another_gpu(self, engine, gpu) -> None:
        """As classic TensorRT builds: for the very GPU that is here."""
        gpu(L4)
        edit(engine, targets=[], device={"name": "NVIDIA L40S", "target": "sm_89", "driver": 13000})
        with pytest.raises(
            EnvironmentMismatch, match=r"was built on NVIDIA L40S \(sm_89\), and here is NVIDIA L4 \(sm_89\)"
        ):
            RTX.load(engine, 1)

    def test_without_a_gpu(self, engine, monkeypatch) -> None:
        def none() -> None:
            raise NoDevice("no CUDA device (none)")

        monkeypatch.setattr(module, "find_device", none)
        with pytest.raises(
            BackendUnavailable, match=r"^no CUDA device \(none\): measure it on a machine with sm_86 or"
        ):
            RTX.load(engine, 1)

    def test_without_pycuda(self, engine, monkeypatch) -> None:
        monkeypatch.setattr(module, "find_device", lambda: L4)
        monkeypatch.setitem(sys.modules, "pycuda", None)
        with pytest.raises(BackendUnavailable, match=r"^backend tensorrt-rtx: pycuda is not installed: pip"):
            RTX.load(engine, 1)

    @pytest.mark.gpu
    @pytest.mark.skipif(no_gpu() is not None, reason=str(no_gpu()))
    def test_on_a_gpu_it_computes_what_onnx_runtime_does(self, made, tmp_path) -> None:
        source, _ = made
        RTX.compile(source, tmp_path, EngineSettings(targets=(module.find_device().target,), batch=(1, 1, 4)))
        with BACKENDS["onnxruntime"].load(source, 1) as reference, RTX.load(tmp_path, 1) as session:
            for feeds in (FEEDS[0], {"image": np.concatenate([FEEDS[0]["image"]] * 3)}, FEEDS[1]):
                expected, found = reference.infer(feeds)["logits"], session.infer(feeds)["logits"]
                assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
            assert set(session.parts()) == {"H2D", "compute", "D2H"}


@needs_rtx
def test_on_a_machine_with_another_gpu_it_is_built_and_not_compared(made, tmp_path, gpu) -> None:
    gpu(T4)
    given = EngineSettings(targets=("sm_86",))
    found = compile_engine(RTX, BACKENDS["onnxruntime"], made[0], PixelTask(), FEEDS, 1, tmp_path, given)
    assert found["parity"] == {}
    assert {layer["compute"] for layer in found["layers"]} == {"fp16"}


class TestWhereItIsNot:
    def test_classic_needs_the_gpu_that_it_builds_for(self, monkeypatch) -> None:
        def none() -> None:
            raise NoDevice("no CUDA device (none)")

        monkeypatch.setattr(module.TensorRtBackend, "_missing", lambda self: None)
        monkeypatch.setattr(module, "find_device", none)
        with pytest.raises(BackendUnavailable, match=r"but there is no CUDA device \(none\): tensorrt-rtx needs none"):
            require(CLASSIC, Precision.FP16)
        assert CLASSIC.unrunnable() == "no CUDA device (none)"
        require(RTX, Precision.FP16)

    def test_a_library_that_does_not_load_is_one_sentence(self, monkeypatch) -> None:
        def broken(name: str) -> None:
            raise ImportError("libnvinfer.so.11: cannot open shared object file\nand more")

        monkeypatch.setattr("importlib.import_module", broken)
        with pytest.raises(
            BackendUnavailable, match=r"TensorRT-RTX does not import \(libnvinfer\.so\.11: [^\n]*\): pip"
        ):
            TENSORRT_RTX.module()


@needs_rtx
class TestLayers:
    """What `deploy inspect` shows of an engine, read from its sidecar."""

    def test_every_product_is_there_once_with_its_type(self, made, tmp_path) -> None:
        source, _ = made
        RTX.compile(source, tmp_path, EngineSettings(targets=("sm_86",)))
        recorded = RTX.realised(tmp_path, 1, {}).layers
        found = RTX.layers(tmp_path, 1, {"image": (1, 3, 32, 32)}, recorded)
        names = [name for layer in found for name in (layer.name, *layer.fused)]
        assert len(names) == len(set(names))
        types = {layer.name: layer.compute for layer in found}
        assert {product.name: types.get(product.name) for product in recorded} == {
            product.name: product.compute for product in recorded
        }

    def test_shapes_are_those_of_the_graph(self, made, tmp_path) -> None:
        source, _ = made
        RTX.compile(source, tmp_path, EngineSettings(targets=("sm_86",)))
        found = RTX.layers(tmp_path, 1, {"image": (1, 3, 32, 32)}, RTX.realised(tmp_path, 1, {}).layers)
        assert {(spec.name, spec.shape) for layer in found for spec in layer.inputs if spec.name == "image"} == {
            ("image", (1, 3, 32, 32))
        }
        assert any(spec.name == "logits" for layer in found for spec in layer.outputs)
