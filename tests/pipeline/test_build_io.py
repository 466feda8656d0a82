"""Builds whose engines take raw images, end to end with the real runtimes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from kit.builds import LAYERS, House, Recorder, contents

from visiondeploy.errors import GateFailed, UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.pipeline.backends.openvino import OpenVinoBackend
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.engine import EngineSettings
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.folder import BUILD, read_build, verify
from visiondeploy.pipeline.gate import END_TO_END
from visiondeploy.pipeline.pages import PAGE
from visiondeploy.types import Ending, Outcome, Precision, Status

RAW = "export.io=uint8"
PLACES = {
    "fp32": {"onnx-fp32-uint8"},
    "fp16": {"onnx-fp16", "onnx-fp16-uint8"},
    "int8": {
        "onnx-int8-cpu",
        "onnx-int8-cpu-onnxruntime",
        "onnx-int8-cpu-uint8",
        "onnx-int8-cpu-onnxruntime-uint8",
    },
}
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def room(store_root, tmp_path_factory) -> House:
    """A working folder that these tests share."""
    return House(store_root, tmp_path_factory.mktemp("io"))


@pytest.fixture
def given(checkpoint) -> tuple[str, ...]:
    """A network that says it was trained and knows several classes; of int8 it is not asked what it keeps."""
    return (f"model.checkpoint={checkpoint}", "limits.agreement=0", "limits.max_drop=100", RAW)


@pytest.mark.parametrize("precision", [*map(Precision, PLACES)])
class TestWhatComesOut:
    def test_rows_of_the_baseline_and_each_engine(self, room, given, precision) -> None:
        report = room.build(*given, f"precision={precision}").report
        assert [row.name for row in report.rows] == [
            "toy-fp32-pytorch",
            f"toy-{precision}-openvino",
            f"toy-{precision}-onnxruntime",
        ]
        for row in report.rows[1:]:
            assert row.status is Status.OK
            assert row.agreement.outputs == "classes"
            assert row.agreement.pixels > (0.5 if precision == "int8" else 0.99)
            assert sum(row.realised.values()) == sum(row.stored.values()) == LAYERS
            assert row.latency_ms.n == len(row.latency_ms.raw) > 0
            assert row.peak_rss_bytes > 0
        assert report.verdict.status is Outcome.PASS
        assert END_TO_END[Ending.CLASSES] in report.notes

    def test_engines_and_baseline_take_an_image_and_give_a_class_map(self, room, given, precision) -> None:
        record = room.build(*given, f"precision={precision}").record
        folder = room.cwd / "builds" / record.name
        for engine in (record.baseline, *record.engines):
            with BACKENDS[engine.backend].load(folder / engine.folder, 1) as session:
                (found,) = session.infer({"image": IMAGE}).values()
            assert (found.dtype, found.shape) == (np.uint8, (1, 32, 48))
            assert len(np.unique(found)) > 1

    def test_the_folder(self, room, given, precision) -> None:
        built = room.build(*given, f"precision={precision}")
        assert built.folder.name == f"toy-{precision}-uint8"
        places = {"network", "onnx-fp32", "engines", *PLACES[precision]}
        assert {path.name for path in built.folder.iterdir() if path.is_dir()} == places
        assert {path.name for path in (built.folder / "engines").iterdir()} == {"openvino", "onnxruntime", "pytorch"}
        assert read_build(built.folder) == (built.record, built.report)
        verify(built.folder, built.record)
        assert {*contents(built.folder)} == {*built.record.files, BUILD, PAGE}

    def test_parity_is_checked_after_each_stage(self, room, given, precision) -> None:
        checks = room.build(*given, f"precision={precision}").record.parity
        before = {"fp16": ["parity fp16"], "int8": ["parity int8 cpu", "parity int8 cpu-onnxruntime"], "fp32": []}
        wrapped = sorted(f"parity {place}" for place in PLACES[precision] if place.endswith("uint8"))
        assert [check.name for check in checks] == [
            "parity export onnx",
            "parity export torchscript",
            *before[precision],
            *sorted(wrapped, key=len),
            "parity network-uint8",
            "parity openvino",
            "parity openvino uint8",
        ]
        found = {check.name: check.found for check in checks}
        # ONNX Runtime and PyTorch do the very same arithmetic as before.
        assert {found[name] for name in (*wrapped, "parity network-uint8")} == {"equal"}
        assert found["parity openvino"] == "equal" or found["parity openvino"].endswith(" dB")

    def test_what_trained_and_what_is_exported_knows_nothing_of_it(self, room, given, precision) -> None:
        built = room.build(*given, f"precision={precision}")
        assert (built.record.spec.io, built.record.spec.trained_steps) == ("uint8", 7)
        assert read_spec(built.folder / "network").io == "float32"
        assert read_spec(built.folder / "engines" / "pytorch") == built.record.spec
        graph = onnx.load(built.folder / "onnx-fp32" / "model.onnx").graph
        assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


class TestOtherBackends:
    def test_torchscript(self, room, given) -> None:
        built = room.build(*given, "backend=torchscript", until="compile")
        assert built.folder.name == "toy-fp32-uint8-torchscript"
        assert (built.folder / "torchscript-uint8" / "model.pt").is_file()
        assert [c.found for c in built.record.parity if c.name == "parity torchscript-uint8"] == ["equal"]

    def test_pytorch_alone(self, room, given) -> None:
        built = room.build(*given, "backend=pytorch")
        assert [row.backend for row in built.report.rows] == ["pytorch"]
        assert built.record.engines == (built.record.baseline,)
        names = [stage.name for stage in built.record.stages]
        assert names == ["load", "export", "wrap network", "compile pytorch uint8", "measure"]


class TestStore:
    def test_stages_before_are_those_of_the_other_kind(self, room, given, tmp_path) -> None:
        out, floats = tmp_path / "out", [text for text in given if text != RAW]
        room.build(*floats, "precision=int8", until="compile", out=out)
        events = Recorder()
        room.build(*given, "precision=int8", until="compile", out=out, events=events)
        assert not {"load", "export", "quantise cpu", "compile openvino"} & set(events.ran)

    def test_the_second_build_runs_no_stage(self, room, given) -> None:
        room.build(*given, "precision=fp16")
        events = Recorder()
        room.build(*given, "precision=fp16", events=events)
        assert events.ran == []

    def test_what_is_served_is_a_checkpoint_all_the_same(self, room, given, tmp_path) -> None:
        built = room.build(*given, "backend=pytorch")
        served = built.folder / "engines" / "pytorch"
        again = room.build(f"model.checkpoint={served}", *given[1:-1], until="train", out=tmp_path / "out")
        assert again.record.spec.io == "float32"
        assert again.record.network == built.record.network


class TestFaults:
    """A fault of a runtime is caught by its values, or where it is in what was added, by classes."""

    def test_of_the_network_in_it(self, room, given) -> None:
        with pytest.raises(GateFailed, match=r"parity openvino: .* dB, limit SQNR ≥ 500 dB"):
            room.build(*given, "precision=int8", "backend=openvino", "limits.compile_sqnr_db=500", until="compile")

    def test_of_what_was_added(self, room, given, checkpoint, tmp_path, monkeypatch) -> None:
        """An OpenVINO that swaps red and blue of raw images, with random weights."""
        true = OpenVinoBackend.compile

        def wrong(self: OpenVinoBackend, source: Path, folder: Path, settings: EngineSettings) -> None:
            model = onnx.load(source / "model.onnx")
            for constant in model.graph.initializer:
                if constant.name == "served/mean":
                    swapped = onnx.numpy_helper.to_array(constant)[:, ::-1] + 1
                    constant.CopyFrom(onnx.numpy_helper.from_array(swapped, constant.name))
            changed = tmp_path / folder.name
            changed.mkdir()
            onnx.save_model(model, changed / "model.onnx")
            true(self, changed, folder, settings)

        monkeypatch.setattr(OpenVinoBackend, "compile", wrong)
        alone = House(tmp_path / "cache", tmp_path)
        untrained = json.loads((checkpoint / "network.json").read_text()) | {"trained_steps": 0}
        random = tmp_path / "random"
        random.mkdir()
        (random / "network.json").write_text(json.dumps(untrained))
        (random / "weights.safetensors").write_bytes((checkpoint / "weights.safetensors").read_bytes())
        events = Recorder()
        built = alone.build(f"model.checkpoint={random}", RAW, until="compile", events=events)
        assert [engine.backend for engine in built.record.engines] == ["onnxruntime"]
        (warning,) = events.warnings
        assert warning.startswith("openvino: left out, parity openvino uint8: ")
        assert warning.endswith("limit 99.90% of pixels agree.")


class TestBench:
    @pytest.fixture(scope="class")
    @staticmethod
    def built(room, checkpoint) -> list[Path]:
        """Raw images in three precisions, and floats in one."""
        given = (f"model.checkpoint={checkpoint}", "limits.agreement=0", "limits.max_drop=100")
        raw = [room.build(*given, RAW, f"precision={precision}").folder for precision in PLACES]
        return [*raw, room.build(*given, "precision=int8").folder]

    def test_of_one_kind_in_one_table(self, room, built, tmp_path) -> None:
        done = bench(built[1:3], 2, 1.0, None, tmp_path / "out", Silent())
        assert len(done.report.rows) == 5
        assert {row.agreement.outputs for row in done.report.rows[1:]} == {"classes"}
        assert END_TO_END[Ending.CLASSES] in done.report.notes
        assert done.pictures.is_file()
        text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
        assert "input and output are uint8" in text

    def test_the_two_kinds_are_not_compared(self, built, tmp_path) -> None:
        words = (
            r"cannot be compared with .*toy-int8: it has other inputs and outputs \(uint8, not float32\); bench them"
        )
        with pytest.raises(UsageError, match=words):
            bench([built[3], built[0]], None, None, None, tmp_path / "out", Silent())
        assert not (tmp_path / "out").exists()

    def test_without_names_those_of_the_newest_builds_kind(self, room, built, tmp_path) -> None:
        with contextlib.chdir(room.cwd):
            done = bench([], 1, 1.0, None, tmp_path / "out", Silent())
        assert [row.name for row in done.report.rows][1:] == ["toy-int8-openvino", "toy-int8-onnxruntime"]
        left = [note for note in done.report.notes if "other inputs and outputs (uint8, not float32)" in note]
        assert len(left) >= 3
        assert END_TO_END[Ending.CLASSES] not in done.report.notes
