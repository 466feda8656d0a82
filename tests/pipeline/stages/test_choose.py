"""The choice among graphs by their speed, on a real runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.builds import House

from visiondeploy.benchmarks.latency import LatencySettings
from visiondeploy.errors import BackendUnavailable
from visiondeploy.pipeline.backends.openvino import OpenVinoBackend
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.engine import PLAIN
from visiondeploy.pipeline.stages.choose import choose

FEEDS = {"image": np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)}
SETTINGS = LatencySettings(seconds=2, warmup_seconds=0.2, min_blocks=20, max_blocks=20)


def small() -> onnx.ModelProto:
    b = graphs.Builder()
    return b.model(b.conv("image", graphs.CLASSES, size=1, act=None))


@pytest.fixture
def chosen(tmp_path):
    """What is chosen of graphs by name, the rule's first."""

    def run(**models: onnx.ModelProto):
        folders = {name: tmp_path / "graphs" / name for name in models}
        for name, model in models.items():
            folders[name].mkdir(parents=True)
            onnx.save_model(model, folders[name] / "model.onnx")
        return choose(BACKENDS["openvino"], folders, FEEDS, SETTINGS, PLAIN, 1, lambda *_: None)

    return run


def test_another_that_is_faster_is_taken(chosen) -> None:
    found = chosen(rule=graphs.unet(), other=small())
    assert found["chosen"] == "other"
    assert found["speedup"]["other"]["ci95"][0] > 1


def test_the_rules_stays_where_it_is_faster(chosen) -> None:
    assert chosen(rule=small(), other=graphs.unet())["chosen"] == "rule"


def test_a_build_says_which_and_keeps_its_place(store_root, tmp_path, monkeypatch) -> None:
    """With two schemes of one backend, whichever is faster here."""
    monkeypatch.setattr(OpenVinoBackend, "alternatives", ("tensorrt",))
    built = House(store_root, tmp_path).build("precision=int8", "backend=openvino", until="compile")
    (stage,) = [stage for stage in built.record.stages if stage.name == "choose cpu"]
    assert set(stage.meta["speedup"]) == {"tensorrt"}
    assert (built.folder / "onnx-int8-cpu" / "model.onnx").is_file()


def test_where_its_engines_cannot_run_the_rule_stands(store_root, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(OpenVinoBackend, "alternatives", ("tensorrt",))
    monkeypatch.setattr(OpenVinoBackend, "unrunnable", lambda self: "no device")
    built = House(store_root, tmp_path).build("precision=int8", "backend=openvino", until="compile")
    assert not [stage for stage in built.record.stages if stage.name.startswith("choose")]


def test_engines_for_another_machine_leave_the_rules(chosen, monkeypatch) -> None:
    def elsewhere(self: OpenVinoBackend, folder: object, threads: int) -> None:
        raise BackendUnavailable("built for sm_86, and this is sm_90.")

    monkeypatch.setattr(OpenVinoBackend, "load", elsewhere)
    assert chosen(rule=graphs.unet(), other=small()) == {"chosen": "rule", "speedup": {}}
