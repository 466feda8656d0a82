"""Profiles of the engines of builds of a tiny network, with the real runtimes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from kit.builds import House, Recorder

from visiondeploy.benchmarks.report.schema import Row
from visiondeploy.errors import InputError
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline import profiling
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.folder import Engine
from visiondeploy.pipeline.opening import OpenBuild, dataset_of, open_build
from visiondeploy.pipeline.stages.measure import Contender
from visiondeploy.types import Precision, Realised, Status


@pytest.fixture(scope="module")
def builds(store_root, tmp_path_factory) -> list[OpenBuild]:
    """Compiled, not measured; with the network itself as the baseline that a measurement adds."""
    room = House(store_root, tmp_path_factory.mktemp("profiling"))
    found = []
    for words in (("precision=int8",), ("backend=torchscript",)):
        build = open_build(room.build(*words, until="compile").folder)
        realised = BACKENDS["pytorch"].realised(build.folder / "network", 1, {})
        baseline = Engine(
            backend="pytorch",
            precision=Precision.FP32,
            folder="network",
            size_bytes=1,
            layers=realised.layers,
            stored=realised.stored,
        )
        found.append(replace(build, record=build.record.model_copy(update={"baseline": baseline})))
    return found


def rows(builds: list[OpenBuild]) -> dict[str, Row]:
    """A row with a profile for each engine, by backend; that of the baseline once."""
    found: dict[str, Row] = {}
    for build in builds:
        entries, bare = [], []
        for engine in (build.record.baseline, *build.record.engines):
            realised = Realised(engine.layers, engine.stored)
            about = {"name": engine.backend, "model": "toy", "backend": engine.backend, "precision": engine.precision}
            folder = build.folder / engine.folder
            entries.append((Contender(**about, folder=folder, size_bytes=1, parameters=1, realised=realised), build))
            bare.append(Row(**about, status=Status.OK, realised=realised.counts()))
        feeds = build_feeds(build)
        found |= {row.backend: row for row in profiling.with_profiles(entries, bare, feeds, 1, Recorder().progress)}
    return found


def build_feeds(build: OpenBuild) -> dict:
    return task_of(build.record.spec).preprocess([dataset_of(build).split(build.recipe.data.val)[0]])


@pytest.fixture(scope="module")
def profiled(builds) -> dict[str, Row]:
    return rows(builds)


def test_every_engine_has_one_and_says_how_it_was_taken(profiled) -> None:
    assert set(profiled) == {"pytorch", "torchscript", "openvino", "onnxruntime"}
    for row in profiled.values():
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


def test_a_backend_that_cannot_is_named_with_the_reason(builds, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise InputError("its counters are off.")

    monkeypatch.setitem(BACKENDS, "torchscript", Mute(BACKENDS["torchscript"]))
    monkeypatch.setattr(type(BACKENDS["openvino"]), "profile", refuse)
    found = rows(builds)
    assert "its layers were not timed: backend torchscript does not time layers" in found["torchscript"].notes
    assert "its layers were not timed: its counters are off." in found["openvino"].notes
    assert found["openvino"].profile == found["torchscript"].profile == ()
    assert found["openvino"].status is Status.OK
    assert found["onnxruntime"].profile


@pytest.mark.parametrize(("milliseconds", "runs"), [(None, 5), (0.001, 100), (100, 50), (3000, 5)])
def test_runs_are_as_many_as_fit(milliseconds, runs) -> None:
    assert profiling.runs_within(5.0, milliseconds) == runs
