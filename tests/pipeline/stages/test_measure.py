"""Engines that cannot be measured, among others that can."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from kit.builds import House
from kit.builds import toy as toy_recipe

from visiondeploy.benchmarks.memory import peak_rss
from visiondeploy.errors import BackendUnavailable, InputError, ResourceError
from visiondeploy.models.data.table import open_dataset
from visiondeploy.pipeline.backends.onnxruntime_session import OnnxRuntimeSession
from visiondeploy.pipeline.stages import timing
from visiondeploy.pipeline.stages.measure import Contender, measure, predictions
from visiondeploy.pipeline.stages.timing import memory_command
from visiondeploy.types import Precision, Realised, Status


@pytest.fixture(scope="module")
def built(store_root, tmp_path_factory):
    return House(store_root, tmp_path_factory.mktemp("measured")).build(until="compile")


@pytest.fixture(scope="module")
def broken(built, tmp_path_factory):
    """The ONNX Runtime engine, cut in half."""
    folder = tmp_path_factory.mktemp("broken")
    whole = (built.folder / "engines" / "onnxruntime" / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def contenders(built, broken) -> list[Contender]:
    """Baseline, a good engine, a broken one, one of a backend that nobody knows, one whose runtime is not here."""
    folder = built.folder
    kinds = {engine.backend: Realised(engine.layers, engine.stored) for engine in built.record.engines}

    def contender(name: str, backend: str, place, realised: Realised) -> Contender:
        return Contender(name, "toy", backend, Precision.FP32, place, 1000, 7, realised)

    ort = kinds["onnxruntime"]
    return [
        contender("baseline", "pytorch", folder / "network", ort),
        contender("good", "onnxruntime", folder / "engines" / "onnxruntime", ort),
        contender("broken", "onnxruntime", broken, ort),
        contender("foreign", "tensorflow", folder, ort),
        contender("absent", "openvino", folder / "engines" / "openvino", kinds["openvino"]),
    ]


@pytest.fixture
def split():
    recipe = toy_recipe()
    return open_dataset(recipe.data.dataset, recipe.data.options).split("val")


def run(contenders, built, split):
    return measure(contenders, built.record.spec, split, toy_recipe().bench, 1, lambda done, total, note: None).rows


def test_one_that_does_not_load_is_a_row_and_the_others_are_measured(contenders, built, split, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as where it is not installed
    rows = {row.name: row for row in run(contenders, built, split)}
    assert list(rows) == ["baseline", "good", "broken", "foreign", "absent"]
    assert {name: row.status for name, row in rows.items()} == {
        "baseline": Status.OK,
        "good": Status.OK,
        "broken": Status.FAILED,
        "foreign": Status.FAILED,
        "absent": Status.NOT_RUN,
    }
    assert rows["good"].agreement.pixels == 1
    assert rows["good"].speedup.value > 0
    assert "does not load model.onnx" in rows["broken"].reason
    assert "no backend 'tensorflow'" in rows["foreign"].reason
    assert rows["absent"].reason == "backend openvino: openvino is not installed: pip install openvino."
    assert rows["broken"].latency_ms is rows["broken"].quality is rows["broken"].peak_rss_bytes is None


def test_pictures_are_of_those_that_load(contenders, built, split, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    (row,) = predictions(contenders, built.record.spec, [split[1]], 1)
    assert [name for name, _ in row] == ["input", "truth", "baseline", "good"]
    assert {np.shape(picture) for _, picture in row} == {(32, 48, 3)}


def test_without_a_baseline_there_is_nothing_to_compare_with(contenders, built, broken, split) -> None:
    with pytest.raises(InputError, match=r"holds no network\.json"):
        run([replace(contenders[0], folder=broken), contenders[1]], built, split)


def test_a_baseline_whose_runtime_is_not_here(contenders, built, split) -> None:
    with pytest.raises(BackendUnavailable, match="runs fp32, not int8"):
        run([replace(contenders[0], precision=Precision.INT8)], built, split)


def test_memory_that_cannot_be_measured_loses_nothing_else(contenders, built, split, monkeypatch) -> None:
    def peak(command: list[str], timeout: float) -> int:
        if "pytorch" in command:
            raise ResourceError("'python' was killed, probably for want of memory.")
        return 7

    monkeypatch.setattr(timing, "peak_rss", peak)
    baseline, good = run(contenders[:2], built, split)
    assert baseline.peak_rss_bytes is None
    assert baseline.notes == ("peak memory was not measured: 'python' was killed, probably for want of memory.",)
    assert baseline.latency_ms is not None
    assert (good.peak_rss_bytes, good.notes) == (7, ())


def test_parts_that_a_device_timed_are_a_note(contenders, built, split, monkeypatch) -> None:
    monkeypatch.setattr(OnnxRuntimeSession, "parts", lambda self: {"H2D": 0.12345, "compute": 1.5}, raising=False)
    baseline, good = run(contenders[:2], built, split)
    assert (baseline.notes, good.notes) == ((), ("on the device, median: H2D 0.123 ms, compute 1.5 ms",))


def test_memory_is_that_of_a_process_with_one_engine(contenders) -> None:
    feeds = {"image": np.zeros((1, 3, 32, 48), np.float32)}
    command = memory_command(contenders[1], 1, feeds)
    assert command[0] == sys.executable
    assert json.loads(command[-1]) == {"image": ["float32", [1, 3, 32, 48]]}
    assert 10 * 2**20 < peak_rss(command, timeout=60) < 300 * 2**20
