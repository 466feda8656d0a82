"""What holds for every backend whose runtime times its layers, on an engine of a real network."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
from kit.networks import spec_of
from kit.photos import photos

from visiondeploy.benchmarks.report.measured import LayerTiming, shares
from visiondeploy.models.checkpoint import load_network, new_network, save_network
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.inside import Profilable
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import export
from visiondeploy.pipeline.stages.wrap import wrap

RUNS = 5
PRODUCTS = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """A network and its exports, feeds, and the paths of its convolutions in the order of execution."""
    network, exported = tmp_path_factory.mktemp("network"), tmp_path_factory.mktemp("exported")
    spec = spec_of("unet")
    save_network(new_network(spec, seed=0), network)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    feeds = task_of(spec).preprocess(photos(image))
    export(network, [feeds], ExportSettings(), 1, exported)
    return {"network": network, "torchscript": exported, "onnx": exported}, feeds, _in_order(network, feeds)


def _in_order(network, feeds) -> list[str]:
    module, found = load_network(network).module, []
    for name, part in module.named_modules():
        if isinstance(part, PRODUCTS):
            part.register_forward_hook(lambda *_, name=name: found.append(name))
    with torch.inference_mode():
        module(torch.from_numpy(feeds["image"]))
    return found


@pytest.fixture(params=sorted(name for name, backend in BACKENDS.items() if isinstance(backend, Profilable)))
def backend(request):
    found = BACKENDS[request.param]
    reason = found.unavailable() or found.unrunnable()
    if reason:
        pytest.skip(reason)
    return found


@pytest.fixture
def layers(backend, artifacts, tmp_path):
    sources, feeds, _ = artifacts
    backend.compile(sources[backend.source], tmp_path)
    return backend.profile(tmp_path, 1, feeds, RUNS)


def test_every_backend_times_its_layers() -> None:
    assert {name for name, backend in BACKENDS.items() if not isinstance(backend, Profilable)} == set()


def test_every_convolution_has_the_name_of_its_module(layers, artifacts) -> None:
    """In the order of execution, once each, in the type that it computes in."""
    named = [layer for layer in layers if layer.name in artifacts[2]]
    assert [layer.name for layer in named] == artifacts[2]
    assert {layer.compute for layer in named} == {"fp32"}
    assert all("conv" in layer.kind.lower() and layer.milliseconds > 0 and not layer.inserted for layer in named)


def test_names_are_unique_and_shares_are_a_whole(layers) -> None:
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    found = shares([LayerTiming(one.name, one.kind, one.compute, one.milliseconds) for one in layers])
    assert math.isclose(math.fsum(layer.share for layer in found), 1.0)


def test_what_is_inserted_moves_data(layers, backend) -> None:
    kinds = {layer.kind for layer in layers if layer.inserted}
    assert kinds <= {"Reorder", "ReorderInput", "ReorderOutput", "Cast", "Transpose"}
    assert not kinds or backend.source == "onnx"


class TestPyTorch:
    @pytest.fixture
    def profiled(self, artifacts, tmp_path):
        sources, feeds, _ = artifacts
        BACKENDS["pytorch"].compile(sources["network"], tmp_path)
        return lambda runs=2: BACKENDS["pytorch"].profile(tmp_path, 1, feeds, runs)

    def test_modules_without_others_in_them_are_layers_and_what_calls_them_has_its_operators(self, profiled) -> None:
        kinds = {layer.name: layer.kind for layer in profiled()}
        assert (kinds["encoder.0.0"], kinds["encoder.0.1"], kinds["encoder.0.2"]) == ("Conv2d", "BatchNorm2d", "ReLU")
        assert (kinds["cat"], kinds["cat.1"]) == ("cat", "cat")
        # Nothing of what makes arrays of tensors.
        assert not {"to", "detach", "lift_fresh"} & kinds.keys()

    def test_nothing_is_said_on_stderr_and_the_environment_stays(self, profiled, capfd, monkeypatch) -> None:
        before = dict(os.environ)
        profiled()
        assert capfd.readouterr() == ("", "")
        assert dict(os.environ) == before

    def test_of_a_network_for_raw_images_the_names_are_the_same(self, artifacts, tmp_path) -> None:
        sources, feeds, convolutions = artifacts
        spec = load_network(sources["network"]).spec.model_copy(update={"io": "uint8"})
        raw = task_of(spec).preprocess(photos(np.zeros((32, 48, 3), np.uint8)))
        (tmp_path / "wrapped").mkdir()
        wrap(sources["network"], "network", spec, [feeds], [raw], 1, tmp_path / "wrapped")
        found = BACKENDS["pytorch"].profile(tmp_path / "wrapped", 1, raw, 2)
        assert [layer.name for layer in found if layer.kind.startswith("Conv")] == convolutions
