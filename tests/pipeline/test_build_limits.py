"""What a build leaves out, and what its verdict fails on."""

from __future__ import annotations

import pytest
from kit.builds import House, Recorder

from visiondeploy.errors import GateFailed
from visiondeploy.pipeline.backends.openvino import OpenVinoBackend
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.events import Silent
from visiondeploy.types import Layer, Outcome, Realised, Status


def test_an_engine_that_computes_something_else_fails_the_build(room) -> None:
    with pytest.raises(GateFailed, match=r"parity openvino: .* dB, limit SQNR ≥ 500 dB.*try another backend"):
        room.build("precision=int8", "backend=openvino", "limits.compile_sqnr_db=500", until="compile")
    assert not (room.cwd / "builds").exists()


def test_or_is_left_out_where_there_is_another(room) -> None:
    events = Recorder()
    built = room.build("precision=int8", "limits.compile_sqnr_db=500", until="compile", events=events)
    assert [engine.backend for engine in built.record.engines] == ["onnxruntime"]
    assert not (built.folder / "engines" / "openvino").exists()
    assert len(events.warnings) == 1
    assert events.warnings[0].startswith("openvino: left out, parity openvino: ")


def test_a_backend_that_is_left_out_is_a_row_of_the_report_and_is_not_judged(room) -> None:
    built = room.build("precision=int8", "limits.compile_sqnr_db=500")
    last = built.report.rows[-1]
    assert (last.name, last.status, last.speedup) == ("toy-int8-openvino", Status.FAILED, None)
    assert last.reason.startswith("left out, parity openvino: ")
    assert last.reason.endswith("limit SQNR ≥ 500 dB.")
    assert built.report.verdict.status is Outcome.PASS
    assert built.record.engine == "onnxruntime"
    again = bench([built.folder], 2, 1.0, None, room.cwd / "bench", Silent()).report
    assert again.rows[-1] == last


def test_a_backend_that_auto_cannot_use_is_a_row_that_was_not_run(room, monkeypatch) -> None:
    monkeypatch.setattr(OpenVinoBackend, "unavailable", lambda self: "openvino is not installed: pip install it")
    built = room.build("precision=fp32")
    assert [row.backend for row in built.report.rows] == ["pytorch", "onnxruntime", "openvino"]
    assert built.report.rows[-1].status is Status.NOT_RUN
    assert built.report.rows[-1].reason == "backend openvino: openvino is not installed: pip install it."
    assert built.report.verdict.status is Outcome.PASS


def test_classes_that_int8_mistakes_fail_the_verdict(room, checkpoint) -> None:
    given = (f"model.checkpoint={checkpoint}", "precision=int8", "backend=onnxruntime")
    built = room.build(*given, "limits.agreement=1", "limits.max_drop=100")
    assert built.report.verdict.status is Outcome.FAIL
    assert [c.name for c in built.report.verdict.checks if c.status is Outcome.FAIL] == [
        "parity int8 cpu-onnxruntime",
        "toy-int8-onnxruntime: agreement",
    ]
    assert built.report.rows[1].agreement.pixels < 1
    again = room.build(*given, "limits.agreement=0.5", "limits.quantise_sqnr_db=0", "limits.max_drop=100")
    assert again.report.verdict.status is Outcome.PASS


def test_strict_leaves_out_what_is_off_where_another_is_exact(room, monkeypatch) -> None:
    layers = (Layer("conv", "Convolution", "int8", "cpu"),)
    monkeypatch.setattr(OpenVinoBackend, "realised", lambda *_: Realised(layers, {"int8": 1}))
    # A store of its own: the engines of the shared one know their true layers.
    alone = House(room.cwd / "cache", room.cwd)
    built = alone.build("train.steps=0", "precision=int8", "limits.strict=true")
    off = next(row for row in built.report.rows if row.backend == "onnxruntime")
    assert off.status is Status.FAILED
    assert off.reason == "left out, limits.strict: 1 layers not in int8."
    assert [engine.backend for engine in built.record.engines] == ["openvino"]


def test_strict_fails_on_layers_in_another_precision(room, checkpoint) -> None:
    given = (f"model.checkpoint={checkpoint}", "precision=int8", "backend=onnxruntime", "limits.strict=true")
    report = room.build(*given, "limits.max_drop=100", "limits.agreement=0.5").report
    off = report.rows[1].off_precision
    failed = [check for check in report.verdict.checks if check.status is Outcome.FAIL]
    assert [check.name for check in failed] == (["toy-int8-onnxruntime: precision"] if off else [])
