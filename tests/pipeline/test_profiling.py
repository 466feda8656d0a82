"""`bench --profile` over builds of a tiny network, with the real runtimes."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import pytest
from kit.builds import House, Recorder

from visiondeploy.errors import InputError
from visiondeploy.pipeline import profiling
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.bench import bench
from visiondeploy.types import Status


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory) -> House:
    room = House(store_root, tmp_path_factory.mktemp("profiling"))
    room.build("precision=int8")
    room.build("backend=torchscript")
    return room


def rows(room: House) -> dict:
    with contextlib.chdir(room.cwd):
        report = bench((), 1, 1, 1, None, Recorder(), profile=True).report
    return {row.backend: row for row in report.rows}


@pytest.fixture(scope="module")
def profiled(room) -> dict:
    return rows(room)


def test_every_engine_has_one_after_it_was_measured(profiled) -> None:
    assert set(profiled) == {"pytorch", "torchscript", "openvino", "onnxruntime"}
    for row in profiled.values():
        assert row.latency_ms is not None
        assert math.isclose(math.fsum(layer.share for layer in row.profile), 1.0)
        assert any("runs of their own, after the latency measurement" in note for note in row.notes)


def test_the_products_know_their_work_under_one_name(profiled) -> None:
    """The same in PyTorch and in every engine of the same network, fp32 or int8."""
    work = [{layer.name: layer.macs for layer in row.profile if layer.macs} for row in profiled.values()]
    assert len(work[0]) == 13
    assert all(found == work[0] for found in work)


def test_types_are_those_that_are_realised(profiled) -> None:
    for row in profiled.values():
        kinds = [layer.compute for layer in row.profile if layer.macs]
        assert {kind: kinds.count(kind) for kind in kinds} == row.realised


@dataclass
class Mute:
    """A backend that does not time its layers."""

    of: object

    def __getattr__(self, name: str) -> object:
        if name == "profile":
            raise AttributeError(name)
        return getattr(self.of, name)


def test_a_backend_that_cannot_is_named_with_the_reason(room, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise InputError("its counters are off.")

    monkeypatch.setitem(BACKENDS, "torchscript", Mute(BACKENDS["torchscript"]))
    monkeypatch.setattr(type(BACKENDS["openvino"]), "profile", refuse)
    found = rows(room)
    assert "its layers were not timed: backend torchscript does not time layers" in found["torchscript"].notes
    assert "its layers were not timed: its counters are off." in found["openvino"].notes
    assert found["openvino"].profile == found["torchscript"].profile == ()
    assert found["openvino"].status is Status.OK
    assert found["onnxruntime"].profile


@pytest.mark.parametrize(("milliseconds", "runs"), [(None, 5), (0.001, 100), (100, 50), (3000, 5)])
def test_runs_are_as_many_as_fit(milliseconds, runs) -> None:
    assert profiling.runs_within(5.0, milliseconds) == runs
