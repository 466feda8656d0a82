"""Builds of a tiny network, end to end with the real runtimes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from kit.builds import LAYERS, TOY, House, Recorder, contents, flip
from kit.datasets import TOML, write_folder
from kit.networks import spec_of

from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.calibration.ranges import Ranges, parse_ranges
from visiondeploy.errors import (
    BackendUnavailable,
    InputError,
    IntegrityError,
    ResourceError,
    UsageError,
)
from visiondeploy.models.checkpoint import new_network, save_network
from visiondeploy.models.data.table import open_dataset
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.folder import BUILD, read_build, verify
from visiondeploy.pipeline.gate import UNTRAINED
from visiondeploy.pipeline.pages import PAGE
from visiondeploy.types import Outcome, Precision, Status

CPU = ("cpu", "cpu-onnxruntime")
MEASURED = [
    ("fp32", "auto"),
    ("fp16", "auto"),
    ("int8", "auto"),
    ("fp32", "pytorch"),
]
COMPILED = [
    (precision, backend)
    for backend in ("onnxruntime", "openvino")
    for precision in sorted(BACKENDS[backend].precisions)
]
COMPILED.append((Precision.FP32, "torchscript"))
ENGINES = {"auto": ["openvino", "onnxruntime"]}

# Builds the toy's fp32 in a process of its own, and says which runtimes that took.
ELSEWHERE = """
import sys
from pathlib import Path
from visiondeploy.pipeline.build import build
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.recipe import load_recipe
from visiondeploy.pipeline.store import Store
{before}
build(load_recipe(Path(sys.argv[1])), Store(Path(sys.argv[2])), Path(sys.argv[3]), Silent())
print(*sorted({{"torch", "onnx", "onnxruntime", "openvino", "accelerate"}} & set(sys.modules)))
"""

KILLED_AT_THE_FOURTH_RENAME = """
import os, signal
left = 4
rename = os.replace
def deadly(*args, **kwargs):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*args, **kwargs)
os.replace = deadly
"""


def elsewhere(room: House, out: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ELSEWHERE.format(before=before), str(TOY), str(room.store), str(out)]
    return subprocess.run(command, cwd=room.cwd, capture_output=True, text=True, check=False)


def overrides(precision: str, backend: str) -> tuple[str, str]:
    return f"precision={precision}", f"backend={backend}"


class TestWhatComesOut:
    @pytest.mark.parametrize(("precision", "backend"), MEASURED)
    def test_the_report_has_the_baseline_first_and_a_row_for_each_engine(self, house, precision, backend) -> None:
        report = house.build(*overrides(precision, backend)).report
        first, *others = report.rows
        assert (first.name, first.backend, first.precision) == ("toy-fp32-pytorch", "pytorch", Precision.FP32)
        assert (first.speedup.value, first.agreement.exact, first.quality.delta) == (1, True, 0)
        engines = ENGINES.get(backend, [backend])
        assert [row.name for row in others] == [f"toy-{precision}-{name}" for name in engines if name != "pytorch"]
        for row in report.rows:
            assert row.status is Status.OK
            assert sum(row.realised.values()) == sum(row.stored.values()) == sum(row.providers.values()) == LAYERS
            assert row.quality.n == 4
            assert row.latency_ms.n == len(row.latency_ms.raw) > 0
            assert min(row.size_bytes, row.peak_rss_bytes, row.parameters) > 0
        assert report.environment.threads == 1
        assert report.verdict.status is Outcome.PASS

    @pytest.mark.parametrize(("precision", "backend"), MEASURED)
    def test_build_json_reads_back_as_what_was_returned(self, house, precision, backend) -> None:
        built = house.build(*overrides(precision, backend))
        text = (built.folder / BUILD).read_text(encoding="utf-8")
        assert read_build(built.folder) == (built.record, built.report)
        assert Report.from_json(text) == built.report
        assert json.loads(text)["build"]["recipe"]["precision"] == precision
        verify(built.folder, built.record)
        assert {*contents(built.folder)} == {*built.record.files, BUILD, PAGE}

    @pytest.mark.parametrize(("precision", "backend"), MEASURED)
    def test_the_engine_of_a_build_is_its_fastest(self, house, precision, backend) -> None:
        built = house.build(*overrides(precision, backend))
        speed = {row.backend: row.speedup.value for row in built.report.rows}
        assert built.record.engine == max(ENGINES.get(backend, [backend]), key=speed.__getitem__)

    @pytest.mark.parametrize(("precision", "backend"), COMPILED)
    def test_one_backend_alone_is_compiled_in_every_precision(self, house, precision, backend) -> None:
        record = house.build(*overrides(precision, backend), until="compile").record
        (engine,) = record.engines
        # The logits of ONNX Runtime's int8 file come from a convolution in float.
        head = int((precision, backend) == ("int8", "onnxruntime"))
        stored = {precision: LAYERS - head} | ({"fp32": 1} if head else {})
        assert (engine.backend, engine.precision, engine.stored) == (backend, precision, stored)
        assert len(engine.layers) == LAYERS
        if precision is not Precision.FP16:  # what fp16 computes in is for the CPU to say
            assert sum(layer.compute == precision for layer in engine.layers) >= LAYERS - 1
        assert (house.cwd / "builds" / record.name / engine.folder).is_dir()

    def test_the_baseline_is_compiled_once_where_it_is_the_engine_too(self, house) -> None:
        names = [stage.name for stage in house.build(*overrides("fp32", "pytorch")).record.stages]
        assert names == ["train", "export", "compile pytorch", "measure"]

    def test_parity_is_checked_after_each_stage(self, house) -> None:
        checks = house.build(*overrides("int8", "auto")).record.parity
        assert [check.name for check in checks] == [
            "parity export onnx",
            "parity export torchscript",
            "parity int8 cpu",
            "parity int8 cpu-onnxruntime",
            "parity openvino",
        ]

    def test_each_backend_gets_the_scheme_that_it_names(self, house) -> None:
        built = house.build(*overrides("int8", "auto"), until="compile")
        files = {name: onnx.load(built.folder / f"onnx-int8-{name}" / "model.onnx") for name in CPU}
        ran = [stage.name for stage in built.record.stages if stage.name.startswith("quantise")]
        assert ran == [f"quantise {name}" for name in files]
        kinds = {name: {node.op_type for node in model.graph.node} for name, model in files.items()}
        assert "ConvTranspose" in kinds["cpu"] - kinds["cpu-onnxruntime"]

    def test_or_the_one_that_was_asked_for(self, house) -> None:
        given = ("calibration.scheme=tensorrt", *overrides("int8", "onnxruntime"))
        built = house.build(*given, until="compile")
        graph = onnx.load(built.folder / "onnx-int8-tensorrt" / "model.onnx").graph
        points = {t.data_type for t in graph.initializer if t.name.endswith("zero_point")}
        assert points == {onnx.TensorProto.INT8}
        assert built.record.engines[0].backend == "onnxruntime"

    @pytest.mark.parametrize(("scheme", "precision"), [("tensorrt-fp8", "int8"), ("tensorrt", "fp8")])
    def test_a_scheme_of_another_precision_is_said(self, house, scheme, precision) -> None:
        with pytest.raises(UsageError, match=rf"'{scheme}' is for (fp8|int8), and the precision is {precision}: leave"):
            house.build(f"calibration.scheme={scheme}", *overrides(precision, "auto"))

    @pytest.mark.parametrize("setting", ["calibration.adaround=true", "calibration.weight_bits=7"])
    def test_what_is_of_integers_is_refused_for_fp8(self, house, setting) -> None:
        with pytest.raises(UsageError, match="integers, and the precision is fp8: leave it away"):
            house.build(setting, *overrides("fp8", "auto"))

    def test_a_scheme_that_does_not_exist_is_said(self, house) -> None:
        with pytest.raises(UsageError, match="no scheme 'tensort': did you mean 'tensorrt'"):
            house.build("calibration.scheme=tensort", *overrides("int8", "auto"))

    def test_random_weights_are_not_judged_and_that_is_said(self, house) -> None:
        built = house.build("train.steps=0", "precision=int8", "backend=onnxruntime", "limits.max_drop=0")
        assert built.record.spec.trained_steps == 0
        assert UNTRAINED in built.report.notes
        assert built.report.rows[1].quality is not None
        assert not [check for check in built.report.verdict.checks if "miou" in check.name or "%" in check.limit]


class TestCalibration:
    """Ranges that are kept, and layers that stay in float."""

    RANGES = "builds/toy-int8-calibration/onnx-int8-cpu/ranges.json"

    def test_two_schemes_are_made_from_one_pass_over_the_images(self, room) -> None:
        events = Recorder()
        built = room.build("precision=int8", until="quantise", events=events)
        assert events.started == ["train", "export", "sample", "observe", "quantise cpu", "quantise cpu-onnxruntime"]
        assert built.folder.name == "toy-int8-calibration"
        assert {path.name for path in built.folder.glob("onnx-int8-*")} == {f"onnx-int8-{name}" for name in CPU}
        assert built.record.engines == ()

    def test_ranges_of_a_calibration_are_used_again(self, room) -> None:
        first = room.build("precision=int8", until="quantise")
        events = Recorder()
        with contextlib.chdir(room.cwd):
            again = room.build("precision=int8", f"calibration.ranges={self.RANGES}", until="compile", events=events)
        assert "observe" not in events.started
        one, other = (read_ranges(built.folder / "onnx-int8-cpu") for built in (first, again))
        assert one == other

    def test_ranges_of_another_network_are_refused(self, room) -> None:
        room.build("precision=int8", until="quantise")
        with (
            contextlib.chdir(room.cwd),
            pytest.raises(InputError, match=r"ranges\.json holds ranges of other weights: calibrate anew"),
        ):
            room.build("precision=int8", f"calibration.ranges={self.RANGES}", "train.seed=1", until="quantise")

    def test_ranges_for_other_codes_are_refused(self, room) -> None:
        room.build("precision=int8", until="quantise")
        given = ("precision=int8", f"calibration.ranges={self.RANGES}", "calibration.scheme=tensorrt")
        with contextlib.chdir(room.cwd), pytest.raises(InputError, match="for uint8 codes, not int8"):
            room.build(*given, until="quantise")

    def test_a_ranges_file_that_is_not_there_is_said_before_training(self, room) -> None:
        events = Recorder()
        with pytest.raises(InputError, match=r"calibration\.ranges: gone\.json cannot be read \(No such file"):
            room.build("precision=int8", "calibration.ranges=gone.json", "train.seed=9", events=events)
        assert events.started == []

    def test_a_limit_that_int8_breaks_keeps_layers_in_float(self, room) -> None:
        given = ("precision=int8", "backend=onnxruntime", "calibration.mixed=true", "limits.max_drop=0")
        built = room.build(*given, "data.options.train=16", until="compile")
        meta = next(stage.meta for stage in built.record.stages if stage.name == "mix cpu-onnxruntime")
        assert meta["mixed"]["split"] == "train"
        assert {*meta["mixed"]["kept_in_float"]} <= {*meta["left_in_float"]}
        in_float = sum(layer.compute == "fp32" for layer in built.record.engines[0].layers)
        assert in_float == len(meta["left_in_float"]) == LAYERS - len(meta["int8"])

    def test_what_was_kept_in_float_stands_in_the_report(self, room) -> None:
        given = ("precision=int8", "backend=openvino", "calibration.mixed=true", "limits.max_drop=0")
        built = room.build(*given, "data.options.train=16")
        kept = next(s.meta for s in built.record.stages if s.name == "mix cpu")["mixed"]["kept_in_float"]
        notes = [note for note in built.report.notes if note.startswith("cpu: ")]
        assert len(notes) == bool(kept)
        assert all(name in notes[0] for name in kept)

    def test_nothing_is_chosen_on_the_split_that_it_is_confirmed_on(self, room) -> None:
        with pytest.raises(UsageError, match=r"data\.sensitivity is 'val', as data\.val is"):
            room.build("precision=int8", "calibration.mixed=true", "data.sensitivity=val")

    def test_no_image_left_to_judge_by_is_said(self, room) -> None:
        with pytest.raises(UsageError, match="all 8 of the split 'train' are calibrated with: name another split"):
            room.build("precision=int8", "calibration.mixed=true", "calibration.images=6")

    def test_random_weights_have_no_metric_to_lose(self, room) -> None:
        events = Recorder()
        given = ("precision=int8", "train.steps=0", "calibration.mixed=true")
        room.build(*given, until="quantise", events=events)
        assert not [stage for stage in events.started if stage.startswith("mix")]
        assert "calibration.mixed: no layer is tried in float, since the weights are random" in events.told


def read_ranges(folder: Path) -> Ranges:
    return parse_ranges((folder / "ranges.json").read_bytes(), "ranges.json")


class TestUntil:
    @pytest.mark.parametrize(
        ("until", "places"),
        [
            ("train", {"network"}),
            ("export", {"network", "onnx-fp32"}),
            ("quantise", {"network", "onnx-fp32", "onnx-fp16"}),
            ("compile", {"network", "onnx-fp32", "onnx-fp16", "engines"}),
        ],
    )
    def test_it_ends_there(self, room, until, places) -> None:
        built = room.build("precision=fp16", until=until)
        assert built.report is None
        assert {path.name for path in built.folder.iterdir() if path.is_dir()} == places
        assert read_build(built.folder) == (built.record, None)
        assert built.record.until == until
        assert "rows" not in json.loads((built.folder / BUILD).read_text(encoding="utf-8"))


class TestStore:
    def test_the_second_build_runs_no_stage_and_touches_nothing(self, room) -> None:
        before = {path: path.stat().st_mtime_ns for path in room.build().folder.rglob("*")}
        events = Recorder()
        folder = room.build(events=events).folder
        assert events.ran == []
        assert events.started == list(events.cached)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    def test_the_second_build_imports_no_runtime(self, room) -> None:
        room.build()
        done = elsewhere(room, room.cwd / "out")
        assert (done.returncode, done.stdout.strip()) == (0, "")

    def test_a_damaged_entry_is_made_anew_and_said(self, house, tmp_path) -> None:
        record = house.build("precision=fp16").record
        room = house.fork(tmp_path)
        key = next(stage.key for stage in record.stages if stage.name == "convert")
        flip(room.store / "artifacts" / key[:2] / key / "model.onnx")
        events = Recorder()
        again = room.build("precision=fp16", events=events)
        assert events.ran == ["convert"]
        assert len(events.warnings) == 1
        assert "is damaged and will be made anew: model.onnx does not have the digest" in events.warnings[0]
        assert again.record == record

    def test_a_change_of_the_limits_runs_nothing(self, room) -> None:
        room.build("precision=int8")
        events = Recorder()
        room.build("precision=int8", "limits.max_drop=50", "limits.quantise_sqnr_db=1", events=events)
        assert events.ran == []


class TestFolder:
    def test_what_ends_early_does_not_replace_a_whole_build(self, room) -> None:
        whole = room.build("precision=fp16").folder
        before = contents(whole)
        assert room.build("precision=fp16", until="train").folder.name == "toy-network"
        assert room.build("precision=fp16", until="export").folder.name == "toy-onnx"
        assert contents(whole) == before

    def test_that_a_build_of_another_recipe_is_replaced_is_said(self, room) -> None:
        events = Recorder()
        room.build("precision=fp16", events=events)
        room.build("precision=fp16", events=events)
        assert events.told == []
        room.build("precision=fp16", "limits.max_drop=7", events=events)
        assert events.told == [
            "builds/toy-fp16 holds a build of another recipe, which this one replaces; keep both with -o"
        ]

    def test_a_damaged_file_is_refused_by_bench_and_restored_by_the_same_build(self, room) -> None:
        built = room.build("precision=int8")
        path = built.folder / "engines" / "onnxruntime" / "model.onnx"
        whole = path.read_bytes()
        for damage in (lambda: flip(path), path.unlink):
            damage()
            with pytest.raises(IntegrityError, match=r"model\.onnx .*run the same `deploy build` again") as error:
                bench([built.folder], None, None, None, room.cwd / "bench", Silent())
            assert error.value.exit_code == 4
            assert not (room.cwd / "bench").exists()
            assert room.build("precision=int8").record == built.record
            assert path.read_bytes() == whole

    def test_a_damaged_record_is_written_anew(self, room) -> None:
        built = room.build()
        (built.folder / BUILD).write_bytes(b"\xff{")
        with pytest.raises(InputError, match=r"is not a build's record .*: build it again"):
            read_build(built.folder)
        room.build()
        assert read_build(built.folder) == (built.record, built.report)

    def test_a_killed_copy_says_it_is_incomplete_and_the_same_build_completes_it(self, room) -> None:
        whole = room.build(out=room.cwd / "whole")
        out = room.cwd / "out"
        assert elsewhere(room, out, KILLED_AT_THE_FOURTH_RENAME).returncode == -9
        with pytest.raises(InputError, match="is incomplete: its build was interrupted; run the same `deploy build`"):
            read_build(out)
        assert room.build(out=out).record == whole.record
        assert contents(out) == contents(whole.folder)

    def test_files_of_an_earlier_build_go_and_those_of_the_user_stay(self, room) -> None:
        out = room.cwd / "out"
        room.build("precision=int8", out=out)
        (out / "notes.txt").write_text("mine")
        (out / "engines" / "openvino" / "mine.txt").write_text("mine")
        (out / "plans").mkdir()
        built = room.build("backend=onnxruntime", until="compile", out=out)
        left = {"notes.txt", "engines/openvino/mine.txt"}
        assert {*contents(out)} == {*built.record.files, BUILD, *left}
        assert {path.name for path in out.iterdir() if path.is_dir()} == {"network", "onnx-fp32", "engines", "plans"}

    def test_the_name_of_a_data_set_does_not_lead_out_of_builds(self, room) -> None:
        data = write_folder(room.cwd / "data", size=(32, 48))
        (data / "dataset.toml").write_text(TOML.replace('"toy"', '"../../a b"'), encoding="utf-8")
        given = (f'data={{dataset="folder:{data}"}}', "data.options={}", "train.steps=0")
        built = room.build(*given, until="train")
        assert built.folder == room.cwd / "builds" / "toy-a-b-network"

    def test_into_the_folder_that_one_is_in(self, house, tmp_path) -> None:
        room = House(house.store, tmp_path)
        built = room.build(out=Path(), until="train")
        assert room.build(out=Path(), until="train").record == built.record
        assert {*contents(tmp_path)} == {*built.record.files, BUILD}


def a_file(out: Path) -> None:
    out.write_text("mine")


def below_a_file(out: Path) -> None:
    out.parent.rmdir()
    out.parent.write_text("mine")


def a_folder_of_others(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("mine")


def a_build_json_of_others(out: Path) -> None:
    out.mkdir()
    (out / BUILD).write_text('{"version": 1}')


class TestRefused:
    """What can be known before the first stage is said before it, and costs nothing."""

    @pytest.mark.parametrize(
        ("put", "kind", "words"),
        [
            (a_file, ResourceError, "is a file, but a folder is needed there: choose another folder with -o"),
            (below_a_file, ResourceError, "is a file, but a folder is needed there"),
            (a_folder_of_others, UsageError, "holds files but no build.json: choose an empty or new folder"),
            (a_build_json_of_others, UsageError, "is not the record of a build: choose an empty or new folder"),
        ],
    )
    def test_a_target_that_is_taken(self, tmp_path, put, kind, words) -> None:
        (tmp_path / "below").mkdir()
        out = tmp_path / "below" / "out"
        put(out)
        before, room, events = contents(tmp_path), House(tmp_path / "cache", tmp_path), Recorder()
        with pytest.raises(kind, match=words):
            room.build(out=out, events=events)
        assert events.started == []
        assert contents(tmp_path) == before

    @pytest.mark.parametrize(
        ("given", "kind", "words"),
        [
            (["data.val=test"], UsageError, "no synthetic split 'test'.*Known: train, val"),
            (["data.calibration=calib"], UsageError, "no synthetic split 'calib'"),
            (["model.name=unte"], UsageError, "no network 'unte': did you mean 'unet'"),
            (["model.name=deeplabv3", "train.batch_size=1"], UsageError, "train.batch_size is 1, .* with 2 images"),
            (["backend=openvin"], UsageError, "no backend 'openvin': did you mean 'openvino'"),
            (["backend=torchscript", "precision=int8"], BackendUnavailable, "torchscript runs fp32, not int8"),
            (["calibration.observer=max"], UsageError, "no observer 'max'.*min-max"),
            (["data.options.size=[8, 8]"], UsageError, "options of data set 'synthetic': size"),
            (["data.dataset=folder:/nonexistent"], UsageError, "options of data set 'folder'"),
            (["model.checkpoint=/nonexistent"], InputError, "holds no network.json: a checkpoint is a folder"),
        ],
    )
    def test_names_that_do_not_exist(self, tmp_path, given, kind, words) -> None:
        events = Recorder()
        with pytest.raises(kind, match=words):
            House(tmp_path / "cache", tmp_path).build(*given, events=events)
        assert events.started == []
        assert list(tmp_path.iterdir()) == []

    def test_a_name_that_is_too_long(self, tmp_path) -> None:
        with pytest.raises(ResourceError, match="File name too long; choose another folder with -o"):
            House(tmp_path / "cache", tmp_path).build(out=tmp_path / ("x" * 300))
        assert list(tmp_path.iterdir()) == []


class TestCheckpoint:
    def test_is_taken_instead_of_a_training(self, room, checkpoint) -> None:
        events = Recorder()
        built = room.build(f"model.checkpoint={checkpoint}", "precision=int8", until="export", events=events)
        assert events.started == ["load", "export"]
        assert built.record.spec.trained_steps == 7
        weights = "weights.safetensors"
        assert (built.folder / "network" / weights).read_bytes() == (checkpoint / weights).read_bytes()

    def test_of_other_classes_names_them(self, room, checkpoint) -> None:
        data = write_folder(room.cwd / "data")
        events = Recorder()
        with pytest.raises(UsageError, match=r"knows 8 classes .*, the data set toy has 3 \(sky, road, tree, …\)"):
            room.build(
                f"model.checkpoint={checkpoint}",
                f'data={{dataset="folder:{data}"}}',
                "data.options={}",
                events=events,
            )
        assert events.started == []

    def test_of_another_ignore_index_names_both(self, room) -> None:
        """What the network was never taught would be judged, or what it was taught be left out."""
        data, folder = write_folder(room.cwd / "data", size=(32, 48)), room.cwd / "checkpoint"
        folder.mkdir()
        spec = spec_of("unet")
        save_network(new_network(spec.model_copy(update={"ignore_index": 200}), seed=0), folder)
        given = (f"model.checkpoint={folder}", f'data={{dataset="folder:{data}"}}', "data.options={}")
        with pytest.raises(UsageError, match=r"checkpoint has ignore_index 200, the data set toy has 255: name its"):
            room.build(*given)
        save_network(new_network(spec, seed=0), folder)
        assert spec.palette != open_dataset(f"folder:{data}", {}).palette, "the palette may be another one"
        room.build(*given, until="train")

    def test_without_weights(self, room, checkpoint) -> None:
        half = room.cwd / "half"
        half.mkdir()
        (half / "network.json").write_bytes((checkpoint / "network.json").read_bytes())
        with pytest.raises(InputError, match=r"weights\.safetensors cannot be read"):
            room.build(f"model.checkpoint={half}")
        assert not (room.cwd / "builds").exists()
