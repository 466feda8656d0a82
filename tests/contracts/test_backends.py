"""What holds for every backend in the table. A newcomer is tested the day it is added."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from kit.builds import toy
from kit.networks import spec_of
from kit.photos import photos

from visiondeploy.calibration.probe import Probe
from visiondeploy.errors import BackendUnavailable, InputError, IntegrityError, UsageError
from visiondeploy.models.checkpoint import new_network, save_network
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.base import require
from visiondeploy.pipeline.backends.inside import Inspectable, Watchable
from visiondeploy.pipeline.backends.onnx_inside import graph_layers
from visiondeploy.pipeline.backends.table import AUTO, BACKENDS, backend_of
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import export
from visiondeploy.pipeline.stages.wrap import wrap
from visiondeploy.types import Precision

RECIPE = toy()
RUNTIMES = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """A network and its exports, and feeds that fit them."""
    network, exported = tmp_path_factory.mktemp("network"), tmp_path_factory.mktemp("exported")
    spec = spec_of("unet")
    save_network(new_network(spec, seed=0), network)
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    feeds = task_of(spec).preprocess(photos(image))
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
    backend.compile(artifacts[0][backend.source], tmp_path, several(backend))
    return tmp_path


def several(backend) -> EngineSettings:
    """Settings of an engine that takes more than one image at once."""
    return EngineSettings(batch=(1, 1, 5)) if "batch" in backend.heed(RECIPE) else PLAIN


@pytest.fixture
def runnable(backend, engine):
    """An engine that can run here: not one for a GPU where there is none."""
    if backend.unrunnable():
        pytest.skip(backend.unrunnable())
    return engine


class TestEveryBackend:
    def test_computes_what_the_network_does(self, backend, runnable, artifacts) -> None:
        sources, feeds = artifacts
        with BACKENDS["pytorch"].load(sources["network"], 1) as reference, backend.load(runnable, 1) as session:
            expected, found = reference.infer(feeds), session.infer(feeds)
        assert found.keys() == expected.keys()
        assert found["logits"].dtype == np.float32
        assert np.allclose(found["logits"], expected["logits"], atol=1e-4)

    def test_names_its_inputs_and_outputs(self, backend, runnable) -> None:
        with backend.load(runnable, 1) as session:
            assert [(spec.name, spec.dtype, spec.shape[1:]) for spec in session.inputs] == [
                ("image", "float32", (3, 32, 48))
            ]
            assert [(spec.name, spec.shape[1:]) for spec in session.outputs] == [("logits", (3, 32, 48))]

    def test_says_what_each_convolution_computes_in(self, backend, engine, artifacts) -> None:
        realised = backend.realised(engine, 1, artifacts[1])
        # depth 2: two convolutions a block, five blocks, two transposed ones, the head
        assert realised.counts() == {"fp32": 13}
        assert realised.stored == {"fp32": 13}
        assert not realised.off(Precision.FP32)
        assert {layer.provider for layer in realised.layers} == {"cuda" if backend.scheme == "tensorrt" else "cpu"}

    def test_its_layers_hold_the_work_of_the_graph(self, backend, engine, artifacts) -> None:
        if not isinstance(backend, Inspectable):
            pytest.skip("it tells of no layers but the recorded ones")
        sources, feeds = artifacts
        shapes = {name: feed.shape for name, feed in feeds.items()}
        recorded = backend.realised(engine, 1, feeds).layers
        found = backend.layers(engine, 1, shapes, recorded)
        graph = graph_layers(sources["onnx"] / "model.onnx", shapes)
        if all(layer.macs is None for layer in found):
            # It tells of no work, and inspection takes that of the graph's nodes in each layer.
            nodes = [name for layer in found for name in (layer.name, *layer.fused)]
            assert all(nodes.count(layer.name) == 1 for layer in graph if layer.macs)
            return
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
        with pytest.raises((InputError, IntegrityError)) as error, backend.load(engine, 1):
            pass
        assert "\n" not in str(error.value)

    def test_refuses_a_precision_it_does_not_run(self, backend) -> None:
        for precision in set(Precision) - backend.precisions:
            with pytest.raises(BackendUnavailable, match=f"runs .*, not {precision}"):
                require(backend, precision)


class TestEverySession:
    """What goes in and out. The feeds are the caller's, and so is what came out, for as long as he holds it."""

    @pytest.fixture
    def session(self, backend, runnable):
        with backend.load(runnable, 1) as session:
            yield session

    def test_takes_any_batch_in_any_order(self, session, artifacts) -> None:
        image = artifacts[1]["image"]
        one = session.infer({"image": image})["logits"]
        for batch in (3, 1, 2, 5, 3, 1):
            found = session.infer({"image": np.concatenate([image] * batch)})["logits"]
            assert np.allclose(found, np.concatenate([one] * batch), atol=1e-5)

    def test_results_that_are_held_stay_as_they_are(self, session, artifacts) -> None:
        """Whole, or some view of them, or what another library reads in place; also after a batch of another size."""
        image = artifacts[1]["image"]
        holders = [lambda a: a, lambda a: a[0, 1:, ::2], lambda a: a.reshape(-1).view(np.uint8)[5:], memoryview]
        holders += [torch.from_numpy, lambda a: np.lib.stride_tricks.sliding_window_view(a, 3, axis=2)]
        held, expected = [], []
        for number in range(12):
            feed = np.concatenate([image + number] * (2 if number in {4, 8} else 1))
            found = session.infer({"image": feed})["logits"]
            hold = holders[number % len(holders)]
            held.append(hold(found))
            expected.append(np.asarray(hold(found)).copy())
        for now, then in zip(held, expected, strict=True):
            assert np.array_equal(np.asarray(now), then)

    def test_results_are_arrays_to_write_to_and_to_reshape(self, session, artifacts) -> None:
        feeds = artifacts[1]
        expected = session.infer(feeds)["logits"].copy()
        for _ in range(3):
            found = session.infer(feeds)["logits"]
            assert np.array_equal(found, expected)
            assert found.flags.c_contiguous
            found[:] = -1
            found.shape = (-1,)
            found.flags.writeable = False

    def test_results_outlive_the_session(self, backend, runnable, artifacts) -> None:
        with backend.load(runnable, 1) as session:
            found = session.infer(artifacts[1])["logits"]
            kept = found.copy()
        del session
        gc.collect()
        assert np.array_equal(found, kept)
        found += 1

    def test_a_result_can_be_fed(self, session, artifacts) -> None:
        """Also where nobody else holds it: the runtime must not write where it reads."""
        image = artifacts[1]["image"]
        expected = session.infer({"image": session.infer({"image": image})["logits"].copy()})["logits"].copy()
        for _ in range(3):
            assert np.array_equal(
                session.infer({"image": session.infer({"image": image})["logits"]})["logits"], expected
            )

    def test_feeds_stay_as_they_were(self, session, artifacts) -> None:
        image = artifacts[1]["image"].copy()
        for _ in range(2):
            found = session.infer({"image": image})["logits"]
            assert np.array_equal(image, artifacts[1]["image"])
            found += 1
            assert np.array_equal(image, artifacts[1]["image"])

    def test_a_feed_is_not_read_after_the_call(self, session, artifacts) -> None:
        """Its memory may be something else by then, or gone."""
        image = artifacts[1]["image"]
        expected = session.infer({"image": image})["logits"].copy()
        for number in range(3):
            feed = image.copy()
            found = session.infer({"image": feed})["logits"]
            feed[:] = number
            assert np.array_equal(found, expected)
            held = weakref.ref(feed)
            del feed
            assert held() is None

    @pytest.mark.parametrize(
        "laid_out",
        [
            np.asfortranarray,
            lambda image: np.repeat(image, 2, axis=3)[..., ::2],
            lambda image: image[..., ::-1].copy()[..., ::-1],
            lambda image: np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
            lambda image: np.frombuffer(image.tobytes(), image.dtype).reshape(image.shape),
            lambda image: np.frombuffer(b"?" + image.tobytes(), np.uint8)[1:].view(image.dtype).reshape(image.shape),
        ],
        ids=["Fortran order", "every other column", "mirrored", "channels last", "read-only", "unaligned"],
    )
    def test_takes_a_feed_however_it_lies_in_memory(self, session, artifacts, laid_out) -> None:
        image = artifacts[1]["image"]
        feed = laid_out(image)
        assert np.array_equal(feed, image)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = session.infer({"image": feed})["logits"]
        assert np.allclose(found, session.infer({"image": image})["logits"], atol=1e-6)
        assert np.array_equal(feed, image)

    @pytest.mark.parametrize(
        ("feeds", "said"),
        [
            (lambda image: {}, "inputs are image, found nothing"),
            (lambda image: {"img": image}, "inputs are image, found img"),
            (lambda image: {"image": image, "more": image}, "inputs are image, found image, more"),
            (
                lambda image: {"image": image.astype(np.float64)},
                "float32 of shape .*×3×32×48, found float64 of shape 1",
            ),
            (lambda image: {"image": image.astype(np.float16)}, "found float16"),
            (lambda image: {"image": image.view(np.int32)}, "found int32"),
            (lambda image: {"image": image.astype(">f4")}, "found >f4"),
            (lambda image: {"image": image[0]}, "found float32 of shape 3×32×48"),
            (lambda image: {"image": image[:, :2]}, "found float32 of shape 1×2×32×48"),
            (lambda image: {"image": image.reshape(1, 3, 48, 32)}, "found float32 of shape 1×3×48×32"),
            (lambda image: {"image": image.tolist()}, "found a list"),
            (lambda image: {"image": None}, "found a NoneType"),
        ],
    )
    def test_refuses_feeds_that_do_not_fit(self, session, artifacts, feeds, said) -> None:
        """Whether or not there was a call before whose feeds could stand in."""
        image = artifacts[1]["image"]
        for _ in range(2):
            with pytest.raises(UsageError, match=said) as error:
                session.infer(feeds(image))
            assert "\n" not in str(error.value)
            session.infer({"image": image})

    def test_threads_may_share_it(self, session, artifacts) -> None:
        image = artifacts[1]["image"]
        expected = [session.infer({"image": image + number})["logits"].copy() for number in range(4)]

        def repeat(number: int) -> bool:
            feeds = {"image": image + number}
            return all(np.array_equal(session.infer(feeds)["logits"], expected[number]) for _ in range(25))

        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(repeat, range(4)))

    def test_is_closed_when_it_was_left(self, backend, runnable, artifacts) -> None:
        with backend.load(runnable, 1) as session:
            pass
        with pytest.raises(RuntimeError, match="the session is closed"):
            session.infer(artifacts[1])


@pytest.fixture(scope="module")
def raw(artifacts, tmp_path_factory):
    """The same artifacts with raw images in and class maps out, and two images for them."""
    sources, feeds = artifacts
    spec = spec_of("unet").model_copy(update={"io": "uint8"})
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype(np.uint8)
    found = {}
    for kind, source in sources.items():
        found[kind] = tmp_path_factory.mktemp(f"raw-{kind}")
        wrap(source, kind, spec, [feeds], [task_of(spec).preprocess(photos(images[0]))], 1, found[kind])
    return found, task_of(spec).preprocess(photos(*images))


class TestRawImages:
    """Every backend, with raw images in and class maps out."""

    @pytest.fixture
    @staticmethod
    def engine(backend, raw, tmp_path):
        backend.compile(raw[0][backend.source], tmp_path, several(backend))
        return tmp_path

    def test_gives_the_classes_of_the_network(self, backend, runnable, raw) -> None:
        sources, feeds = raw
        with BACKENDS["pytorch"].load(sources["network"], 1) as reference, backend.load(runnable, 1) as session:
            expected, found = reference.infer(feeds)["classes"], session.infer(feeds)["classes"]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (np.uint8, (2, 32, 48))
        assert np.mean(found == expected) > 0.999

    def test_names_its_inputs_and_outputs(self, backend, runnable) -> None:
        with backend.load(runnable, 1) as session:
            assert [(s.name, s.dtype, s.shape[1:]) for s in session.inputs] == [("image", "uint8", (32, 48, 3))]
            assert [(s.name, s.dtype, s.shape[1:]) for s in session.outputs] == [("classes", "uint8", (32, 48))]

    def test_an_output_belongs_to_the_caller(self, backend, runnable, raw) -> None:
        feeds = {name: value[:1] for name, value in raw[1].items()}
        with backend.load(runnable, 1) as session:
            first = session.infer(feeds)["classes"]
            kept = first.copy()
            session.infer({name: 255 - value for name, value in feeds.items()})
        assert np.array_equal(first, kept)

    def test_says_what_each_convolution_computes_in(self, backend, engine, raw) -> None:
        realised = backend.realised(engine, 1, raw[1])
        assert (realised.counts(), realised.stored) == ({"fp32": 13}, {"fp32": 13})


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
    assert backend.realised(folder, 1, feeds).stored == {"fp32": 13}
    if backend.unrunnable():
        pytest.skip(backend.unrunnable())
    with BACKENDS["pytorch"].load(sources["network"], 1) as reference, backend.load(folder, 1) as session:
        assert np.allclose(session.infer(feeds)["logits"], reference.infer(feeds)["logits"], atol=1e-4)


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
        if not backend.unavailable() and not backend.unrunnable():
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
