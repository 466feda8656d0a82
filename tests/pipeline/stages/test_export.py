"""Exports of small networks, run by the real runtimes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from kit.networks import spec_of
from torch import Tensor, nn

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import new_network
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import MAX_BATCH, save_onnx, to_onnx, to_torchscript

SIZE = (32, 48)
SPEC = spec_of("unet").model_copy(update={"options": {"base_width": 4, "depth": 1}})
TASK = task_of(SPEC)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return new_network(SPEC, seed=0).module.eval()


@pytest.fixture(scope="module")
def fixed(module) -> onnx.ModelProto:
    return to_onnx(module, TASK, ExportSettings())


@pytest.fixture(scope="module")
def dynamic(module) -> onnx.ModelProto:
    return to_onnx(module, TASK, ExportSettings(dynamic_size=True, opset=18))


def opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def run(model: onnx.ModelProto, image: Tensor) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": image.numpy()})[0]


def expected(module: nn.Module, image: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return module(image).numpy()


class TestOnnx:
    def test_only_the_batch_is_free(self, fixed) -> None:
        (image,), (logits,) = fixed.graph.input, fixed.graph.output
        assert (image.name, shape(image)) == ("image", ["batch", 3, *SIZE])
        assert (logits.name, shape(logits)) == ("logits", ["batch", 3, *SIZE])
        assert opset(fixed) == 20

    def test_any_batch_computes_the_same(self, fixed, module) -> None:
        for batch in (1, 3):
            image = torch.randn(batch, 3, *SIZE)
            assert np.allclose(run(fixed, image), expected(module, image), atol=1e-5)

    def test_another_size_is_refused_where_the_size_is_fixed(self, fixed) -> None:
        with pytest.raises(Exception, match="invalid dimensions"):
            run(fixed, torch.randn(1, 3, 64, 64))

    @pytest.mark.parametrize("size", [SIZE, (64, 32), (33, 47), (17, 65)])
    def test_any_size_computes_the_same_where_it_is_free(self, dynamic, module, size) -> None:
        image = torch.randn(2, 3, *size)
        found = run(dynamic, image)
        assert found.shape == (2, 3, *size)
        assert np.allclose(found, expected(module, image), atol=1e-5)

    def test_the_opset_is_the_one_that_was_asked_for(self, dynamic) -> None:
        assert opset(dynamic) == 18

    def test_the_same_network_gives_the_same_bytes(self, fixed, module, tmp_path) -> None:
        """Keys of all later stages hang on them."""
        again = to_onnx(module, TASK, ExportSettings())
        for name, model in (("one", fixed), ("two", again)):
            save_onnx(model, tmp_path / name)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_nothing_in_it_names_this_machine(self, fixed) -> None:
        text = fixed.SerializeToString()
        for word in (b"/work/", b"site-packages", b".py"):
            assert word not in text

    def test_batch_norm_is_folded(self, fixed) -> None:
        kinds = {node.op_type for node in fixed.graph.node}
        assert "BatchNormalization" not in kinds
        assert {"Conv", "ConvTranspose", "Relu", "MaxPool", "Concat"} <= kinds

    def test_a_network_that_cannot_be_exported_is_one_sentence(self, capfd) -> None:
        class Undecided(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                return image * 2 if image.sum() > 0 else image

        with pytest.raises(InputError, match="the network cannot be exported to ONNX: ") as error:
            to_onnx(Undecided(), TASK, ExportSettings())
        assert "\n" not in str(error.value)
        assert capfd.readouterr().out == ""

    def test_the_batch_has_a_bound(self) -> None:
        assert MAX_BATCH >= 1024


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
class TestTorchScript:
    def test_a_network_is_scripted(self, module, tmp_path) -> None:
        assert to_torchscript(module, TASK, tmp_path / "model.pt") == "script"
        image = torch.randn(2, 3, 64, 32)
        found = torch.jit.load(str(tmp_path / "model.pt"))(image)
        assert np.allclose(found.detach().numpy(), expected(module, image), atol=1e-5)

    def test_or_traced_where_its_python_is_not_known(self, tmp_path) -> None:
        class Unscripted(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                return {**{"twice": image * 2}}["twice"]

        assert to_torchscript(Unscripted(), TASK, tmp_path / "model.pt") == "trace"
        image = torch.randn(1, 3, *SIZE)
        assert torch.equal(torch.jit.load(str(tmp_path / "model.pt"))(image), image * 2)
