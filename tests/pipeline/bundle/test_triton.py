"""Triton's configurations: read by its own schema where its client is here, and held against the engines' files."""

from __future__ import annotations

import pytest
from kit.foreign import painter, save
from kit.sidecars import write_sidecar

from visiondeploy.errors import InputError
from visiondeploy.pipeline.bundle import triton
from visiondeploy.pipeline.bundle.contract import FREE, contract_of
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Contract, Engine, Manifest, Preprocessing, Target, Tensor
from visiondeploy.types import Precision

CPU = Target(kind="cpu", machine="x86_64", isa=("avx2", "avx512_vnni"), runtimes={"onnxruntime": "1.32.0"})
GPU = Target(kind="gpu", machine="x86_64", gpus=("sm_86",), runtimes={"tensorrt": "10.16"}, bound=True)
SIZE = Preprocessing(height=32, width=48, mean=(0, 0, 0), std=(1, 1, 1), resize="any", done=False)


def engine(backend: str, threads: int = 3) -> Engine:
    return Engine(backend=backend, precision=Precision.INT8, folder="e", realised={}, threads=threads)


def contract(
    shape: tuple[int, ...] = (FREE, 3, 32, 48), layout: str | None = "NCHW", more: tuple[Tensor, ...] = ()
) -> Contract:
    image = Tensor(name="image", dtype="float32", shape=shape, layout=layout)
    out = Tensor(name="logits", dtype="float32", shape=(shape[0], 5, *shape[2:]), layout=layout)
    return Contract(task="segmentation", inputs=(image, *more), outputs=(out,), preprocessing=SIZE)


def parsed(text: str):
    """The configuration as Triton's own schema reads it; skips the test where its client is not here."""
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2", exc_type=Exception)
    from google.protobuf import text_format

    return text_format.Parse(text, schema.ModelConfig())


def config(backend: str, of: Contract | None = None, folder=None) -> str:
    return triton.config_of("toy", of or contract(), engine(backend), GPU if folder else CPU, folder)


class TestBatches:
    def test_onnx_runtime_takes_several_requests_together_and_none_waits(self) -> None:
        found = config("onnxruntime")
        assert "\nmax_batch_size: 4\n" in found
        assert "dynamic_batching {\n  max_queue_delay_microseconds: 0\n}\n" in found

    def test_openvino_takes_one(self) -> None:
        found = config("openvino")
        assert "\nmax_batch_size: 1\n" in found
        assert "dynamic_batching" not in found

    @pytest.mark.parametrize("batch", [(1, 1, 1), (1, 4, 6)])
    def test_tensorrt_takes_what_its_profile_takes(self, tmp_path, batch) -> None:
        write_sidecar(tmp_path, batch)
        found = config("tensorrt", folder=tmp_path)
        assert f"\nmax_batch_size: {batch[2]}\n" in found
        assert ("dynamic_batching" in found) == (batch[2] > 1)
        assert "kind: KIND_GPU" in found

    @pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
    def test_without_a_free_batch_the_shape_has_all_axes(self, backend) -> None:
        found = config(backend, contract((1, 3, 32, 48)))
        assert "\nmax_batch_size: 0\n" in found
        assert "dynamic_batching" not in found
        assert found.count("  dims: 1\n  dims: 3\n  dims: 32\n  dims: 48\n") == 1
        assert "      dims: 1\n      dims: 3\n      dims: 32\n      dims: 48\n" in found

    def test_one_input_without_a_batch_is_enough(self) -> None:
        weights = Tensor(name="weights", dtype="float32", shape=(8,))
        found = config("onnxruntime", contract(more=(weights,)))
        assert "\nmax_batch_size: 0\n" in found
        assert '  name: "image"\n  data_type: TYPE_FP32\n  dims: -1\n  dims: 3\n' in found


class TestWarmUp:
    def test_free_sizes_are_those_that_were_measured(self) -> None:
        found = config("onnxruntime", contract((FREE, 3, FREE, FREE)))
        assert "  dims: 3\n  dims: -1\n  dims: -1\n" in found
        assert "      dims: 3\n      dims: 32\n      dims: 48\n      zero_data: true\n" in found

    def test_its_batch_is_one_though_there_is_none(self) -> None:
        # Triton skips a sample of batch size 0.
        assert "  batch_size: 1\n" in config("onnxruntime", contract((1, 3, 32, 48)))


def test_threads_are_those_that_were_measured_with() -> None:
    for backend, name in (("onnxruntime", "intra_op_thread_count"), ("openvino", "INFERENCE_NUM_THREADS")):
        assert f'key: "{name}"\n  value {{\n    string_value: "3"\n' in config(backend)


def test_only_the_newest_version_is_served() -> None:
    assert "version_policy {\n  latest {\n    num_versions: 1\n  }\n}\n" in config("openvino")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tensorrt"])
def test_triton_reads_it(tmp_path, backend) -> None:
    write_sidecar(tmp_path, (1, 4, 6))
    found = parsed(config(backend, folder=tmp_path if backend == "tensorrt" else None))
    assert (found.name, found.backend) == ("toy", backend)
    assert list(found.input[0].dims) == [3, 32, 48]
    assert [sample.batch_size for sample in found.model_warmup] == [1]
    assert found.model_warmup[0].inputs["image"].zero_data
    assert found.version_policy.latest.num_versions == 1
    assert (found.max_batch_size > 1) == found.HasField("dynamic_batching")


@pytest.mark.parametrize("backend", ["tensorrt-rtx", "torchscript", "pytorch"])
def test_other_engines_have_no_platform(backend) -> None:
    with pytest.raises(InputError, match=f"Triton has no backend for engines of {backend}"):
        config(backend)


class TestOfRealEngines:
    @pytest.fixture(params=["openvino", "onnxruntime"])
    def made(self, request):
        return request.getfixturevalue(f"of_{request.param}")

    def test_whoever_has_the_manifest_can_write_it_again(self, made) -> None:
        known = Manifest.from_json((made / MANIFEST).read_bytes())
        again = triton.config_of(known.name, known.contract, known.engine, known.target, made / known.engine.folder)
        assert (made / "triton" / known.name / triton.CONFIG).read_text() == again
        parsed(again)

    def test_the_engine_has_the_names_of_the_contract(self, of_openvino) -> None:
        known = Manifest.from_json((of_openvino / MANIFEST).read_bytes())
        folder, platform = of_openvino / known.engine.folder, triton.PLATFORMS["openvino"]
        assert triton.lint(known.contract, platform, folder) == ()
        wrong = known.contract.model_copy(
            update={"outputs": (known.contract.outputs[0].model_copy(update={"name": "output"}),)}
        )
        (problem,) = triton.lint(wrong, platform, folder)
        assert problem == "Triton knows the outputs of model.xml as logits, the contract as output"

    def test_names_in_an_ir_are_those_that_openvino_gives(self, tmp_path) -> None:
        ov = pytest.importorskip("openvino")
        model = ov.convert_model(save(painter(), tmp_path / "painter.onnx"))
        model.inputs[0].get_tensor().set_names({"photo", "a_photo", "zoo"})
        model.outputs[0].get_tensor().set_names({"painted", "b"})
        ov.save_model(model, tmp_path / "model.xml")
        again = ov.Core().read_model(tmp_path / "model.xml")
        expected = ({port.any_name for port in again.inputs}, {port.any_name for port in again.outputs})
        assert triton.ir_names(tmp_path / "model.xml") == expected


def test_a_painter_of_any_size_is_served_at_any(tmp_path) -> None:
    from visiondeploy.models.spec import NetworkSpec

    spec = NetworkSpec.model_validate(
        {"architecture": "onnx", "task": "style", "input": {"height": 32, "width": 48},
         "style": {"names": (), "digests": (), "features": None, "weights": None, "size": 64},
         "graph": {"file": "p.onnx", "sha256": "0", "precision": "fp32", "image": "photo", "layout": "NCHW",
                   "outputs": ["painted"], "picture": {"name": "painted", "layout": "NCHW", "low": 0, "high": 1}}}
    )  # fmt: skip
    found = contract_of(spec, save(painter(), tmp_path / "p.onnx"))
    text = config("onnxruntime", found)
    assert "  dims: 3\n  dims: -1\n  dims: -1\n" in text
    assert "      dims: 3\n      dims: 32\n      dims: 48\n" in text
