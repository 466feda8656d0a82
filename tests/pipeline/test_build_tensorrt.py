"""Builds for GPUs on a machine that has none: engines, the proof of their precision, and what is not run."""

from __future__ import annotations

import io
import json

import pytest
from kit.builds import LAYERS, TOY, Recorder, flip, toy
from kit.rtx import needs_rtx, no_gpu

from visiondeploy.benchmarks.report.terminal import print_report
from visiondeploy.errors import BackendUnavailable, UsageError
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.build import Built
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.folder import verify
from visiondeploy.pipeline.plan import Plan
from visiondeploy.types import Outcome, Status

pytestmark = [
    needs_rtx,
    pytest.mark.skipif(no_gpu() is None, reason="a GPU is here and would run the engines: this is for one without"),
]

UP = 2
"""Transposed convolutions of the toy, which stay in float in int8."""
TYPES = {"fp32": {"fp32": LAYERS}, "fp16": {"fp16": LAYERS}, "int8": {"int8": LAYERS - UP, "fp32": UP}}
RTX = ("backend=tensorrt-rtx", "engine.targets=['sm_86', 'sm_89']")
TURING = ("precision=int8", "backend=tensorrt-rtx", "engine.targets=['sm_75']")


def proofs(built: Built) -> list[tuple[Outcome, str]]:
    return [(check.status, check.found) for check in built.record.parity if check.name == "precision tensorrt-rtx"]


@pytest.mark.parametrize("precision", TYPES)
class TestEngine:
    def test_has_the_precision_of_its_graph_and_that_is_a_check(self, house, precision) -> None:
        built = house.build(f"precision={precision}", *RTX, until="compile")
        said = ", ".join(f"{count} in {kind}" for kind, count in TYPES[precision].items())
        assert proofs(built) == [(Outcome.PASS, said)]
        (engine,) = built.record.engines
        assert [layer.wanted for layer in engine.layers] == [layer.compute for layer in engine.layers]
        assert not [check for check in built.record.parity if check.name == "parity tensorrt-rtx"]

    def test_lies_in_the_build_with_its_sidecar(self, house, precision) -> None:
        built = house.build(f"precision={precision}", *RTX, until="compile")
        folder = built.folder / "engines" / "tensorrt-rtx"
        verify(built.folder, built.record)
        sidecar = json.loads((folder / "engine.json").read_text(encoding="utf-8"))
        assert (folder / "model.plan").read_bytes()[:4] == b"vtrt"
        assert sidecar["targets"] == ["sm_86", "sm_89"]
        scheme = "int8-tensorrt" if precision == "int8" else precision
        assert sidecar["onnx"]["model.onnx"]["sha256"] == built.record.files[f"onnx-{scheme}/model.onnx"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
class TestReport:
    def test_has_the_baseline_and_a_row_that_was_not_run(self, house, precision) -> None:
        built = house.build(f"precision={precision}", *RTX)
        baseline, row = built.report.rows
        assert (baseline.backend, baseline.status) == ("pytorch", Status.OK)
        assert (row.name, row.status) == (f"toy-{precision}-tensorrt-rtx", Status.NOT_RUN)
        assert row.reason.startswith("no CUDA device (")
        assert row.reason.endswith(": measure it on a machine with sm_86 or sm_89.")
        assert (row.realised, sum(row.stored.values())) == (TYPES[precision], LAYERS)
        assert row.size_bytes > 0
        # Nothing is estimated.
        assert row.latency_ms is row.speedup is row.quality is row.agreement is row.peak_rss_bytes is None
        assert built.record.engine is None

    def test_holds_what_can_be_held_and_leaves_the_rest_open(self, house, precision) -> None:
        verdict = house.build(f"precision={precision}", *RTX).report.verdict
        assert verdict.status is Outcome.INCONCLUSIVE
        open_ = [check.name for check in verdict.checks if check.status is not Outcome.PASS]
        assert open_ == [f"toy-{precision}-tensorrt-rtx: runs"]
        assert "precision tensorrt-rtx" in [check.name for check in verdict.checks]

    def test_shows_types_and_size_and_no_number(self, house, precision) -> None:
        text = io.StringIO()
        print_report(house.build(f"precision={precision}", *RTX).report, text)
        said = " ".join(text.getvalue().split())
        assert all(f"{kind} {count}" in said for kind, count in TYPES[precision].items())
        assert f"toy-{precision}-tensorrt-rtx was not run: no CUDA device" in said


def test_half_is_about_half_of_single(house) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        given = (f"precision={precision}", "model.options.base_width=32", "train.steps=0", *RTX)
        sizes[precision] = house.build(*given, until="compile").record.engines[0].size_bytes
    assert 0.45 < sizes["fp16"] / sizes["fp32"] < 0.75


class TestTuring:
    """sm_75 computes none of these convolutions in int8, and TensorRT-RTX says nothing of it."""

    SAID = f"{LAYERS - UP} in fp32 instead of int8 (encoder.0.0, encoder.0.3, "

    def test_fails_and_names_the_layers(self, house, tmp_path) -> None:
        built = house.build(*TURING, out=tmp_path / "turing", until="compile")
        ((status, found),) = proofs(built)
        assert status is Outcome.FAIL
        assert found.startswith(self.SAID)
        # It is kept, to be looked at.
        assert sum(layer.fell_back for layer in built.record.engines[0].layers) == LAYERS - UP

    def test_the_command_ends_with_one(self, room) -> None:
        given = ("--precision", "int8", "--backend", "tensorrt-rtx", "--target", "sm_75")
        done = room.deploy("compile", "--recipe", TOY, *given)
        assert done.returncode == 1
        assert f"deploy: precision tensorrt-rtx: {self.SAID}" in done.stderr
        assert "head), limit: each of 13 layers in the type that its graph asks for." in done.stderr

    def test_is_a_warning_where_that_is_allowed_and_builds_nothing_again(self, room) -> None:
        room.build(*TURING, until="compile")
        events = Recorder()
        built = room.build(*TURING, "engine.allow_fallback=true", until="compile", events=events)
        assert (proofs(built), events.ran) == ([], [])
        (warned,) = events.warnings
        assert self.SAID in warned
        assert warned.endswith("which --allow-fallback allows")

    def test_what_is_allowed_stands_in_the_report(self, room) -> None:
        built = room.build(*TURING, "engine.allow_fallback=true", "bench.images=2")
        assert built.report.verdict.status is Outcome.INCONCLUSIVE
        assert any(self.SAID in note for note in built.report.notes)
        assert built.report.rows[1].surprises[0].startswith(f"{LAYERS} of {LAYERS} layers do not compute in int8")


class TestStore:
    def test_the_second_build_runs_no_stage(self, room) -> None:
        room.build("precision=fp16", *RTX, until="compile")
        events = Recorder()
        again = ("precision=fp16", "backend=tensorrt-rtx", "engine.targets=['8.9', 'SM86']")
        room.build(*again, until="compile", events=events)
        assert events.ran == []

    @pytest.mark.parametrize(
        "change", ["engine.targets=['sm_89']", "engine.batch=[1, 1, 2]", "engine.tf32=true", "engine.workspace_mib=512"]
    )
    def test_another_setting_is_another_engine_and_nothing_else(self, room, change) -> None:
        room.build("precision=fp32", *RTX, until="compile")
        events = Recorder()
        room.build("precision=fp32", *RTX, change, until="compile", events=events)
        assert events.ran == ["compile tensorrt-rtx"]

    def test_the_baseline_is_the_same_for_all(self) -> None:
        plan = Plan(toy("engine.batch=[1, 1, 3]", *RTX))
        assert plan.heeded(BACKENDS["pytorch"]) == {}
        assert plan.heeded(BACKENDS["tensorrt-rtx"])["batch"] == [1, 1, 3]


class TestBench:
    def test_has_a_row_that_was_not_run(self, room) -> None:
        built = room.build("precision=fp16", *RTX)
        report = bench([built.folder], 2, 1, 1, room.cwd / "bench", Silent()).report
        assert [row.status for row in report.rows] == [Status.OK, Status.NOT_RUN]
        assert report.rows[1].realised == {"fp16": LAYERS}
        assert report.verdict.status is Outcome.INCONCLUSIVE

    def test_a_plan_that_was_changed_is_not_loaded(self, room) -> None:
        built = room.build("precision=fp16", *RTX)
        flip(built.folder / "engines" / "tensorrt-rtx" / "model.plan")
        done = room.deploy("bench", built.folder, "--seconds", "1")
        assert done.returncode == 4
        assert "model.plan has other bytes than were built" in done.stderr


class TestBeforeTraining:
    """What is wrong is said before anything runs."""

    @pytest.mark.parametrize(
        ("given", "code", "said"),
        [
            (["--target", "sm_90"], 5, "does not build for sm_90 (Hopper)"),
            (["--target", "sm_85"], 2, "there is no target 'sm_85': did you mean 'sm_8"),
            (["--set", "engine.batch=[4, 2, 8]"], 2, "min ≤ opt ≤ max"),
            (["--set", "engine.builder_level=1"], 2, "engine.builder_level has no effect in TensorRT-RTX"),
            (["--set", "engine.width=[32, 32, 64]"], 2, "set export.dynamic_size"),
        ],
    )
    def test_by_the_command(self, room, given, code, said) -> None:
        done = room.deploy("build", "--recipe", TOY, "--precision", "fp16", "--backend", "tensorrt-rtx", *given)
        assert (done.returncode, done.stdout) == (code, "")
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr

    def test_a_target_without_a_backend_for_it(self, room) -> None:
        events = Recorder()
        with pytest.raises(UsageError, match=r"engine\.targets is for engines that are compiled for a GPU"):
            room.build("engine.targets=['sm_86']", events=events)
        assert events.started == []

    def test_classic_tensorrt_where_it_is_not(self, room) -> None:
        with pytest.raises(BackendUnavailable, match="backend tensorrt: "):
            room.build("backend=tensorrt")


def test_doctor_says_what_it_can_do(room) -> None:
    lines = " ".join(room.deploy("doctor").stdout.split())
    assert "tensorrt-rtx builds only: tensorrt-rtx 1." in lines
    assert "its engines cannot run here: no CUDA device" in lines
