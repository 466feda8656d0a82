"""What holds for every backend in the table. A newcomer is tested the day it is added."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from kit.networks import spec_of

from visiondeploy.calibration.probe import Probe
from visiondeploy.errors import BackendUnavailable, InputError, UsageError
from visiondeploy.models.checkpoint import new_network, save_network
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.base import require
from visiondeploy.pipeline.backends.inside import Inspectable, Watchable
from visiondeploy.pipeline.backends.onnx_inside import graph_layers
from visiondeploy.pipeline.backends.table import AUTO, BACKENDS, backend_of
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import export
from visiondeploy.types import Precision

RUNTIMES = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """A network and its exports, and feeds that fit them."""
    network, exported = tmp_path_factory.mktemp("network"), tmp_path_factory.mktemp("exported")
    spec = spec_of("unet")
    save_network(new_network(spec, seed=0), network)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    feeds = task_of(spec).preprocess([image])
    export(network, [feeds], ExportSettings(), 1, exported)
    return {"network": network, "torchscript": exported, "onnx": exported}, feeds


@pytest.fixture(params=BACKENDS)
def backend(request):
    found = BACKENDS[request.param]
    if found.unavailable():
        pytest.skip(found.unavailable())
    return found


@pytest.fixture
def engine(backend, artifacts, tmp_path):
    backend.compile(artifacts[0][backend.source], tmp_path)
    return tmp_path


class TestEveryBackend:
    def test_computes_what_the_network_does(self, backend, engine, artifacts) -> None:
        sources, feeds = artifacts
        with BACKENDS["pytorch"].load(sources["network"], 1) as reference, backend.load(engine, 1) as session:
            expected, found = reference.infer(feeds), session.infer(feeds)
        assert found.keys() == expected.keys()
        assert found["logits"].dtype == np.float32
        assert np.allclose(found["logits"], expected["logits"], atol=1e-4)

    def test_names_its_inputs_and_outputs(self, backend, engine) -> None:
        with backend.load(engine, 1) as session:
            assert [(spec.name, spec.dtype, spec.shape[1:]) for spec in session.inputs] == [
                ("image", "float32", (3, 32, 48))
            ]
            assert [(spec.name, spec.shape[1:]) for spec in session.outputs] == [("logits", (3, 32, 48))]

    def test_takes_any_batch(self, backend, engine, artifacts) -> None:
        feeds = artifacts[1]
        batch = {name: np.concatenate([value] * 3) for name, value in feeds.items()}
        with backend.load(engine, 1) as session:
            one, three = session.infer(feeds)["logits"], session.infer(batch)["logits"]
        assert np.allclose(three, np.concatenate([one] * 3), atol=1e-5)

    def test_an_output_belongs_to_the_caller(self, backend, engine, artifacts) -> None:
        """The next call must not write into what the last one returned, and the feeds stay as they were."""
        feeds = artifacts[1]
        before = {name: value.copy() for name, value in feeds.items()}
        with backend.load(engine, 1) as session:
            first = session.infer(feeds)["logits"]
            kept = first.copy()
            session.infer({name: value + 1 for name, value in feeds.items()})
        assert np.array_equal(first, kept)
        assert all(np.array_equal(feeds[name], before[name]) for name in feeds)

    def test_says_what_each_convolution_computes_in(self, backend, engine, artifacts) -> None:
        realised = backend.realised(engine, 1, artifacts[1])
        # depth 2: two convolutions a block, five blocks, two transposed ones, the head
        assert realised.counts() == {"fp32": 13}
        assert realised.stored == {"fp32": 13}
        assert not realised.off(Precision.FP32)
        assert {layer.provider for layer in realised.layers} == {"cpu"}

    def test_its_layers_hold_the_work_of_the_graph(self, backend, engine, artifacts) -> None:
        if not isinstance(backend, Inspectable):
            pytest.skip("it tells of no layers but the recorded ones")
        sources, feeds = artifacts
        shapes = {name: feed.shape for name, feed in feeds.items()}
        recorded = backend.realised(engine, 1, feeds).layers
        found = backend.layers(engine, 1, shapes, recorded)
        graph = graph_layers(sources["onnx"] / "model.onnx", shapes)
        work = {layer.name: (layer.macs, layer.parameters, layer.outputs[0].shape) for layer in graph if layer.macs}
        assert {
            layer.name: (layer.macs, layer.parameters, layer.outputs[0].shape) for layer in found if layer.macs
        } == (work)
        assert {(layer.compute, layer.provider) for layer in found if layer.macs} == {("fp32", "cpu")}

    def test_its_inner_tensors_have_the_values_of_the_graphs(self, backend, engine, artifacts) -> None:
        if not isinstance(backend, Watchable):
            pytest.skip("its tensors cannot be read")
        sources, feeds = artifacts
        model = onnx.load(sources["onnx"] / "model.onnx")
        made = [name for node in model.graph.node for name in node.output]
        inner = [one.tensor for one in backend.inner(engine)]
        assert [name for name in inner if name in made] == made
        expected, found = Probe(model, made, 1)(feeds), backend.watch(engine, 1)(made)(feeds)
        for name in made:
            assert np.allclose(found[name], expected[name], atol=1e-4), name

    def test_a_truncated_engine_is_one_sentence(self, backend, engine) -> None:
        path = max((p for p in engine.iterdir()), key=lambda p: p.stat().st_size)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(InputError) as error, backend.load(engine, 1):
            pass
        assert "\n" not in str(error.value)

    def test_refuses_a_precision_it_does_not_run(self, backend) -> None:
        for precision in set(Precision) - backend.precisions:
            with pytest.raises(BackendUnavailable, match=f"runs .*, not {precision}"):
                require(backend, precision)


@pytest.mark.parametrize("name", sorted(name for name, backend in BACKENDS.items() if backend.source == "onnx"))
def test_weights_beside_the_graph_come_along(name, artifacts, tmp_path) -> None:
    """As they lie where the graph is over 2 GB. The engine has to stand without its source."""
    backend = BACKENDS[name]
    if backend.unavailable():
        pytest.skip(backend.unavailable())
    (sources, feeds), source, folder = artifacts, tmp_path / "source", tmp_path / "engine"
    source.mkdir()
    folder.mkdir()
    model = onnx.load(sources["onnx"] / "model.onnx")
    onnx.save_model(model, source / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    backend.compile(source, folder)
    shutil.rmtree(source)
    with BACKENDS["pytorch"].load(sources["network"], 1) as reference, backend.load(folder, 1) as session:
        assert np.allclose(session.infer(feeds)["logits"], reference.infer(feeds)["logits"], atol=1e-4)
    assert backend.realised(folder, 1, feeds).stored == {"fp32": 13}


def test_no_engine_changes_the_arithmetic_of_its_process(artifacts, tmp_path) -> None:
    """Flushed subnormals would be those of the baseline, and of whatever else runs there."""
    code = """
import json, sys
from pathlib import Path
from visiondeploy.pipeline.stages.run_alone import main
smallest = float("5e-324")
for name, folder in json.loads(sys.argv[1]).items():
    main(name, folder, "1", sys.argv[2])
    if smallest * 1.0 == 0:
        print(name)
        break
"""
    folders = {}
    for name, backend in BACKENDS.items():
        if not backend.unavailable():
            folders[name] = str(tmp_path / name)
            (tmp_path / name).mkdir()
            backend.compile(artifacts[0][backend.source], tmp_path / name)
    shapes = json.dumps({name: (str(feed.dtype), feed.shape) for name, feed in artifacts[1].items()})
    command = [sys.executable, "-c", code, json.dumps(folders), shapes]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_importing_every_backend_imports_no_runtime() -> None:
    code = f"""
import sys
import visiondeploy.pipeline.backends.table
print(*sorted(set({RUNTIMES!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for backend in BACKENDS.values():
        with pytest.raises(BackendUnavailable, match=r"is not installed: pip install "):
            require(backend, Precision.FP32)


def test_an_unknown_backend_is_told_what_exists() -> None:
    with pytest.raises(UsageError, match=r"no backend 'openvin': did you mean 'openvino'.*auto"):
        backend_of("openvin")


def test_auto_names_backends_of_the_table() -> None:
    assert set(AUTO) <= set(BACKENDS)
