"""Engines that are timed in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.benchmarks.scenarios.settings import ScenarioSettings
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import EnvironmentMismatch, InputError, ResourceError
from visiondeploy.pipeline.stages.isolated import Worker, write_feeds
from visiondeploy.pipeline.stages.timing import add_memory, timed_apart, timed_here

FEEDS = {"x": np.ones((1, 3, 8, 8), np.float32)}


@dataclass(frozen=True)
class Lying:
    """An engine where it lies."""

    name: str
    folder: Path
    backend: str = "onnxruntime"


def engine(folder: Path, batch: int | str = "N") -> Path:
    """An engine of ONNX Runtime that doubles its input."""
    folder.mkdir()
    shape = [batch, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, folder / "model.onnx")
    return folder


def settings(**changes) -> BenchSettings:
    latency = {"seconds": 0.1, "min_blocks": 3, "max_blocks": 3, "block_seconds": 0.005, "warmup_seconds": 0.05}
    found = {"latency": LatencySettings.model_validate(latency | changes.pop("latency", {}))} | changes
    return BenchSettings.model_validate(found)


def silent(done: int, total: int, note: str) -> None:
    pass


@pytest.fixture(scope="module")
def engines(tmp_path_factory) -> list[Lying]:
    root = tmp_path_factory.mktemp("engines")
    return [Lying("eager", engine(root / "one")), Lying("other", engine(root / "other"))]


@pytest.fixture
def worker(engines, tmp_path):
    with Worker("onnxruntime", engines[0].folder, 1, write_feeds(FEEDS, tmp_path)) as found:
        yield found


class TestWorker:
    def test_times_its_own_runs(self, worker) -> None:
        worker.load()
        began = time.perf_counter_ns()
        runs = worker.run(50)
        assert len(runs) == 50
        assert min(runs) > 0
        assert sum(runs) < time.perf_counter_ns() - began
        assert worker.parts() == {}

    def test_its_memory_is_its_own(self, worker) -> None:
        block = np.ones(40_000_000)  # this process is the larger one
        worker.load()
        worker.run(1)
        assert 10 * 2**20 < worker.peak() < block.nbytes

    def test_takes_no_core_while_it_waits(self, worker) -> None:
        worker.load()
        worker.run(50)
        time.sleep(0.1)  # threads of a runtime may look out for more work for a moment

        def used() -> float:
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before = used()
        time.sleep(0.5)
        assert used() - before < 0.1

    def test_one_that_is_killed(self, worker) -> None:
        worker.load()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ResourceError, match="was killed, probably for want of memory"):
            worker.run(1)

    def test_one_that_ends(self, worker) -> None:
        worker.load()
        os.kill(worker.pid, signal.SIGTERM)
        with pytest.raises(EnvironmentMismatch, match="ended with SIGTERM, and it wrote nothing"):
            worker.run(1)

    def test_what_the_backend_raises_is_raised_here(self, engines, tmp_path) -> None:
        folder = tmp_path / "empty"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"no model")
        with (
            Worker("onnxruntime", folder, 1, write_feeds(FEEDS, tmp_path)) as found,
            pytest.raises(InputError, match=r"ONNX Runtime does not load model\.onnx"),
        ):
            found.load()

    def test_is_bound_to_cores(self, engines, tmp_path) -> None:
        core = min(os.sched_getaffinity(0))
        with Worker("onnxruntime", engines[0].folder, 1, write_feeds(FEEDS, tmp_path), [core]) as found:
            found.load()
            for thread in Path(f"/proc/{found.pid}/task").iterdir():
                if int(thread.name) == found.pid:
                    assert os.sched_getaffinity(int(thread.name)) == {core}


class TestApart:
    def test_every_engine_is_measured(self, engines) -> None:
        found = timed_apart(engines, FEEDS, settings(), 1, silent)
        assert list(found.latency) == ["eager", "other"]
        assert found.latency["other"].speedup.n == 3
        assert found.latency["eager"].noise.blocks == 3
        assert all(10 * 2**20 < peak < 300 * 2**20 for peak in found.memory.values())
        assert (found.failed, found.scenarios) == ({}, {})

    def test_one_whose_process_dies_is_out_and_the_others_go_on(self, engines, monkeypatch) -> None:
        run, blocks = Worker.run, []

        def dies(self: Worker, count: int):
            if "other" in str(self.folder) and len(blocks) > 20:
                os.kill(self.pid, signal.SIGKILL)
            blocks.append(count)
            return run(self, count)

        monkeypatch.setattr(Worker, "run", dies)
        found = timed_apart(engines, FEEDS, settings(latency={"min_blocks": 20, "max_blocks": 20}), 1, silent)
        assert list(found.latency) == ["eager"]
        assert len(found.latency["eager"].blocks) == 20
        assert "was killed" in str(found.failed["other"])

    def test_without_the_baseline_there_is_nothing(self, engines, tmp_path) -> None:
        with pytest.raises(InputError, match="does not load"):
            timed_apart([Lying("gone", tmp_path), engines[1]], FEEDS, settings(), 1, silent)

    def test_memory_that_is_known_is_not_measured_again(self, engines, monkeypatch) -> None:
        monkeypatch.setattr("visiondeploy.pipeline.stages.timing.peak_rss", lambda command, timeout: 7)
        found = timed_apart(engines[:1], FEEDS, settings(), 1, silent)
        known = dict(found.memory)
        add_memory(found, engines[:1], FEEDS, settings(), 1, silent)
        assert found.memory == known
        found.memory.clear()
        add_memory(found, engines[:1], FEEDS, settings(), 1, silent)
        assert found.memory == {"eager": 7}


def test_scenarios_are_measured_in_processes_of_their_own(tmp_path) -> None:
    fixed = Lying("fixed", engine(tmp_path / "fixed", batch=1))
    names = ("single-stream", "multi-stream", "offline", "server")
    wanted = settings(scenarios=ScenarioSettings(names=names, seconds=0.4, streams=(1, 2), batches=(1, 4)))
    found = timed_apart([fixed], FEEDS, wanted, 1, silent).scenarios["fixed"]
    assert [scenario.name for scenario in found] == list(names)
    single, streams, offline, server = found
    assert single.loads[0].latency_ms.p50 > 0
    assert [(load.streams, load.reason) for load in streams.loads] == [(1, None), (2, None)]
    assert [(load.batch, load.reason) for load in offline.loads] == [(1, None), (4, "the engine takes batches of 1")]
    assert server.bound_ms > 0


def test_in_one_process_the_same_is_found(engines) -> None:
    from visiondeploy.pipeline.backends.table import backend_of

    wanted = settings(scenarios=ScenarioSettings(names=("offline",), seconds=0.1, batches=(2,)))
    with backend_of("onnxruntime").load(engines[0].folder, 1) as session:
        found = timed_here({"eager": session}, engines[:1], FEEDS, wanted, 1, silent)
    assert found.latency["eager"].noise is not None
    assert found.scenarios["eager"][0].loads[0].per_second > 0
