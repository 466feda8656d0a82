"""The order of things in a call, on doubles of PyCUDA, TensorRT and the driver.

They show what the session does with its buffers, its contexts and its graph. That TensorRT and CUDA then do what is
expected of them, and how fast, only a GPU can show.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from visiondeploy.errors import InputError, UsageError
from visiondeploy.pipeline.backends.inside import WARMUPS, LayerTime
from visiondeploy.pipeline.backends.tensorrt import runtime as module
from visiondeploy.pipeline.backends.tensorrt.flavour import TENSORRT, TENSORRT_RTX, Flavour
from visiondeploy.pipeline.backends.tensorrt.graph import CudaGraph
from visiondeploy.pipeline.backends.tensorrt.profiler import layer_times
from visiondeploy.pipeline.backends.tensorrt.runtime import TensorRtSession
from visiondeploy.pipeline.backends.tensorrt.sidecar import FileDigest, LayerTypes, Port, ProfileRecord, Sidecar
from visiondeploy.types import Layer, Timed

SIDECAR = Sidecar(
    flavour="tensorrt",
    release="11.4",
    targets=("sm_89",),
    device=None,
    settings={},
    profiles=({"image": ProfileRecord(min=(1, 3, 4, 4), opt=(1, 3, 4, 4), max=(4, 3, 4, 4))},),
    inputs=(Port(name="image", dtype="float32", shape=("batch", 3, 4, 4)),),
    outputs=(Port(name="logits", dtype="float32", shape=("batch", 3, 4, 4)),),
    layers=(),
    engine_layers=(),
    stored={},
    plan=FileDigest(sha256="", size=0),
    onnx={},
)


@dataclass
class Gpu:
    """A machine with one: its memory, what is on its context stack, what was asked of it, and a clock."""

    stack: list[str] = field(default_factory=list)
    memory: dict[int, np.ndarray] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    clock: int = 0
    detached: int = 0
    capturing: bool = False
    captured: int = 0
    launched: int = 0
    loads: bool = True
    runs: bool = True
    profiles: bool = True

    def did(self, what: str) -> None:
        assert self.stack, f"{what} outside of a context"
        self.clock += 1
        self.done.append(what)


class Allocation:
    def __init__(self, gpu: Gpu, size: int) -> None:
        self.gpu, self.address = gpu, max(gpu.memory, default=0) + 1
        gpu.memory[self.address] = np.zeros(size, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.gpu.did("free")
        del self.gpu.memory[self.address]


class Context:
    """An engine that doubles its input."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.addresses, self.shape = gpu, {}, ()

    def set_input_shape(self, name: str, shape) -> bool:
        self.gpu.did("shape")
        self.shape, self.addresses = shape, {}
        return True

    def get_tensor_shape(self, name: str):
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.gpu.did("capture" if self.gpu.capturing else "execute")
        if not self.gpu.capturing and self.gpu.runs:
            self.compute()
        return self.gpu.runs

    def report_to_profiler(self) -> bool:
        self.gpu.did("report")
        for number, name in enumerate(("reformat", "head_myl0_1")):
            self.profiler.report_layer_time(name, 1.0 + number + len(self.profiler.runs) % 3)
        return self.gpu.profiles

    def compute(self) -> None:
        source, target = (self.gpu.memory[self.addresses[name]].view(np.float32) for name in ("image", "logits"))
        target[:] = source * 2


class Driver:
    """The functions of libcuda that a graph needs."""

    def __init__(self, gpu: Gpu, context: Context, *, refuses: bool = False) -> None:
        self.gpu, self.context, self.refuses = gpu, context, refuses

    def cuStreamBeginCapture_v2(self, stream, mode: int) -> int:
        self.gpu.capturing = True
        return 0

    def cuStreamEndCapture(self, stream, graph) -> int:
        assert self.gpu.capturing
        self.gpu.capturing = False
        if not self.refuses:
            graph._obj.value = 7
        return int(self.refuses)

    def cuGraphInstantiateWithFlags(self, executable, graph, flags) -> int:
        self.gpu.captured += 1
        executable._obj.value = 8
        return 0

    def cuGraphDestroy(self, graph) -> int:
        return 0

    def cuGraphLaunch(self, executable, stream) -> int:
        self.gpu.launched += 1
        self.gpu.did("launch")
        self.context.compute()
        return 0

    def cuGraphExecDestroy(self, executable) -> int:
        self.gpu.captured -= 1
        return 0


@pytest.fixture
def gpu(monkeypatch) -> Gpu:
    found = Gpu()

    class Event:
        at = 0

        def record(self, stream) -> None:
            found.did("mark")
            self.at = found.clock

        def synchronize(self) -> None:
            found.did("wait")

        def time_till(self, other) -> float:
            return float(other.at - self.at)

    def copy(target: np.ndarray, source: np.ndarray, what: str) -> None:
        found.did(what)
        target[:] = source

    def detach() -> None:
        found.detached += 1

    cuda = SimpleNamespace(
        init=lambda: None,
        Device=lambda ordinal: SimpleNamespace(
            retain_primary_context=lambda: SimpleNamespace(push=lambda: found.stack.append("primary"), detach=detach)
        ),
        Context=SimpleNamespace(pop=found.stack.pop),
        Stream=lambda: SimpleNamespace(handle=5),
        Event=Event,
        pagelocked_empty=np.empty,
        mem_alloc=lambda size: Allocation(found, size),
        memcpy_htod_async=lambda to, host, s: copy(found.memory[int(to)], host.reshape(-1).view(np.uint8), "H2D"),
        memcpy_dtoh_async=lambda host, to, s: copy(host.reshape(-1).view(np.uint8), found.memory[int(to)], "D2H"),
    )
    context = Context(found)
    engine = SimpleNamespace(
        create_execution_context=lambda settings=None: context, create_runtime_config=SimpleNamespace
    )
    trt = SimpleNamespace(
        ILogger=type("ILogger", (), {"ERROR": 1}),
        IProfiler=type("IProfiler", (), {}),
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda data: engine if found.loads else None),
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE=1),
    )
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=cuda))
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
    monkeypatch.setattr(Flavour, "module", lambda self: trt)
    monkeypatch.setattr(module, "library", lambda: Driver(found, context))
    return found


def feeds(batch: int, value: float = 1.0) -> dict[str, np.ndarray]:
    return {"image": np.full((batch, 3, 4, 4), value, np.float32)}


def session(flavour: Flavour = TENSORRT) -> TensorRtSession:
    return TensorRtSession(flavour, b"plan", SIDECAR)


@pytest.mark.parametrize("flavour", [TENSORRT, TENSORRT_RTX], ids=lambda flavour: flavour.name)
def test_it_computes_at_any_batch_of_its_profile(gpu, flavour) -> None:
    with session(flavour) as made:
        for number, batch in enumerate((1, 4, 4, 1, 2)):
            found = made.infer(feeds(batch, number))["logits"]
            assert found.shape == (batch, 3, 4, 4)
            assert (found == 2 * number).all()


def test_an_output_belongs_to_the_caller(gpu) -> None:
    with session() as made:
        first = made.infer(feeds(1, 3))["logits"]
        made.infer(feeds(1, 5))
        assert (first == 6).all()


def test_in_then_compute_then_out_each_between_marks(gpu) -> None:
    with session(TENSORRT_RTX) as made:
        made.infer(feeds(1))
        gpu.done.clear()
        made.infer(feeds(1))
        assert gpu.done == ["mark", "H2D", "mark", "execute", "mark", "D2H", "mark", "wait"]
        assert isinstance(made, Timed)
        assert made.parts() == {"H2D": 2, "compute": 2, "D2H": 2}


def test_nothing_was_timed_before_the_first_call(gpu) -> None:
    with session() as made:
        assert made.parts() == {}


class TestGraph:
    def test_is_captured_after_a_plain_call_and_then_replayed(self, gpu) -> None:
        with session() as made:
            made.infer(feeds(1))
            assert (gpu.done.count("execute"), gpu.captured, gpu.launched) == (1, 1, 0)
            assert (made.infer(feeds(1, 4))["logits"] == 8).all()
            assert (gpu.done.count("execute"), gpu.launched) == (1, 1)

    def test_of_other_shapes_is_another(self, gpu) -> None:
        with session() as made:
            for batch in (1, 1, 2, 2):
                made.infer(feeds(batch))
            assert (gpu.captured, gpu.launched, gpu.done.count("execute")) == (1, 2, 2)
        assert gpu.captured == 0

    def test_is_left_to_tensorrt_rtx_which_makes_its_own(self, gpu) -> None:
        with session(TENSORRT_RTX) as made:
            for _ in range(3):
                made.infer(feeds(1))
        assert (gpu.launched, gpu.done.count("execute"), gpu.done.count("capture")) == (0, 3, 0)

    def test_that_cannot_be_captured_costs_nothing_but_the_attempt(self, gpu, monkeypatch) -> None:
        monkeypatch.setattr(module, "library", lambda: Driver(gpu, Context(gpu), refuses=True))
        with session() as made:
            for number in range(3):
                assert (made.infer(feeds(1, number))["logits"] == 2 * number).all()
        assert (gpu.done.count("execute"), gpu.done.count("capture"), gpu.launched) == (3, 1, 0)

    def test_a_stream_is_left_in_order_when_the_call_that_is_captured_raises(self, gpu) -> None:
        def fall() -> bool:
            raise RuntimeError("no")

        with pytest.raises(RuntimeError):
            CudaGraph.capture(Driver(gpu, Context(gpu)), 5, fall)
        assert not gpu.capturing


class TestLayers:
    @pytest.mark.parametrize("flavour", [TENSORRT, TENSORRT_RTX], ids=lambda flavour: flavour.name)
    def test_are_timed_run_by_run_without_a_graph(self, gpu, flavour) -> None:
        with TensorRtSession(flavour, b"plan", SIDECAR, profiled=True) as made:
            runs = made.time_layers(feeds(1), 4)
        assert [[name for name, _ in run] for run in runs] == [["reformat", "head_myl0_1"]] * 4
        assert (gpu.captured, gpu.launched, gpu.done.count("capture")) == (0, 0, 0)
        # Times are asked for after the call has ended, of each run.
        assert gpu.done.count("report") == gpu.done.count("wait") == gpu.done.count("execute") == WARMUPS + 4

    def test_have_the_names_and_types_of_the_graph(self) -> None:
        sidecar = SIDECAR.model_copy(
            update={
                "layers": (Layer("head", "Conv", "int8", "cuda"),),
                "engine_layers": (
                    LayerTypes(
                        name="head_myl0_1", kind="correlation", nodes=("node_relu", "head"),
                        inputs=(Port(name="x", dtype="int8", shape=(1, 3)),), constants=(), outputs=(),
                    ),
                    LayerTypes(
                        name="reformat", kind="kgen", nodes=(),
                        inputs=(Port(name="image", dtype="fp32", shape=(1, 3)),), constants=(), outputs=(),
                    ),
                ),
            }
        )  # fmt: skip
        runs = [[("reformat", 1.0), ("head_myl0_1", 4.0)], [("reformat", 2.0), ("head_myl0_1", 5.0), ("new", 9.0)]]
        assert layer_times(runs, sidecar) == (
            LayerTime("reformat", "kgen", "fp32", 1.5, inserted=True),
            LayerTime("head", "correlation", "int8", 4.5),
            LayerTime("new", "unknown", "unknown", 9.0),
        )

    def test_that_are_not_timed_are_said(self, gpu) -> None:
        gpu.profiles = False
        with (
            TensorRtSession(TENSORRT, b"plan", SIDECAR, profiled=True) as made,
            pytest.raises(InputError, match="does not time the layers"),
        ):
            made.time_layers(feeds(1), 1)
        assert gpu.stack == []

    def test_are_not_timed_in_a_session_for_calls(self, gpu) -> None:
        with session() as made, pytest.raises(RuntimeError, match="not for timing layers"):
            made.time_layers(feeds(1), 1)


class TestBadInput:
    @pytest.mark.parametrize("batch", [0, 5])
    def test_outside_of_the_profile_nothing_is_copied(self, gpu, batch) -> None:
        with session() as made:
            with pytest.raises(InputError, match=rf"'image' is {batch}×3×4×4, and the engine takes 1×3×4×4 to 4×3×4×4"):
                made.infer(feeds(batch))
            assert "H2D" not in gpu.done
            assert (made.infer(feeds(4))["logits"] == 2).all()

    def test_a_plan_that_does_not_load_leaves_no_context(self, gpu) -> None:
        gpu.loads = False
        with pytest.raises(InputError, match="TensorRT does not load the plan: it gave no reason: build it again"):
            session()
        assert (gpu.stack, gpu.detached) == ([], 1)

    def test_an_engine_that_does_not_run_is_said(self, gpu) -> None:
        gpu.runs = False
        with session() as made, pytest.raises(InputError, match="the engine does not run"):
            made.infer(feeds(1))
        assert gpu.stack == []

    def test_feeds_that_do_not_fit_are_refused(self, gpu) -> None:
        with session() as made:
            for wrong in ({}, {"img": feeds(1)["image"]}, {"image": feeds(1)["image"].astype(np.float64)}):
                with pytest.raises(UsageError):
                    made.infer(wrong)
        assert "H2D" not in gpu.done


def test_threads_may_share_it(gpu) -> None:
    def repeat(number: int) -> bool:
        return all((made.infer(feeds(1 + number, number))["logits"] == 2 * number).all() for _ in range(50))

    with session() as made, ThreadPoolExecutor(4) as threads:
        assert all(threads.map(repeat, range(4)))
    assert gpu.stack == []


def test_is_closed_when_it_was_left(gpu) -> None:
    with session() as made:
        made.infer(feeds(1))
    with pytest.raises(RuntimeError, match="the session is closed"):
        made.infer(feeds(1))


def test_what_was_taken_is_given_back(gpu) -> None:
    with session() as made:
        made.infer(feeds(1))
        made.infer(feeds(3))
        assert len(gpu.memory) == 2
    assert (gpu.memory, gpu.stack, gpu.captured, gpu.detached) == ({}, [], 0, 1)
