"""Builds that are fine-tuned for int8: what is compared with what, and where it lies."""

from __future__ import annotations

import contextlib
import json

import pytest
from kit.builds import TOY, House, Recorder

from visiondeploy.errors import UsageError
from visiondeploy.models.checkpoint import read_spec
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.cli.options import recipe_of
from visiondeploy.pipeline.plan import Plan
from visiondeploy.pipeline.recipe import parse_recipe, resolve

INT8 = ("precision=int8", "backend=onnxruntime")
QAT = (*INT8, "qat.steps=2", "qat.batch_size=2", "qat.workers=0")
NOTE = "fine-tuned for int8 with 2 steps (QAT)"


@pytest.fixture
def plain(house):
    return house.build(*INT8)


@pytest.fixture
def tuned(house):
    return house.build(*QAT)


class TestWhatComesOut:
    def test_it_stands_between_network_and_export(self, tuned) -> None:
        names = [stage.name for stage in tuned.record.stages]
        assert names[:3] == ["train", "qat", "export"]

    def test_engines_come_from_the_tuned_network_and_are_compared_with_the_one_before(self, plain, tuned) -> None:
        assert tuned.record.network == plain.record.network
        assert tuned.record.spec == plain.record.spec
        files, before = tuned.record.files, plain.record.files
        weights = "weights.safetensors"
        assert files[f"network/{weights}"] == before[f"network/{weights}"] != files[f"network-qat/{weights}"]
        assert tuned.record.baseline.folder == "network"
        assert tuned.report.baseline.quality == plain.report.baseline.quality
        assert files["onnx-fp32/model.onnx"] != before["onnx-fp32/model.onnx"]

    def test_both_networks_say_how_long_they_were_trained(self, tuned) -> None:
        steps = [read_spec(tuned.folder / place).trained_steps for place in ("network", "network-qat")]
        assert steps == [2, 4]

    def test_its_export_agrees_with_the_tuned_network(self, tuned) -> None:
        checks = {check.name: check for check in tuned.record.parity}
        assert checks["parity export onnx"].status == "PASS"

    def test_the_row_says_so_and_the_baselines_does_not(self, plain, tuned) -> None:
        assert [row.notes for row in tuned.report.rows] == [(), (NOTE,)]
        assert [row.notes for row in plain.report.rows] == [(), ()]

    def test_it_does_not_replace_the_build_without(self, plain, tuned) -> None:
        assert plain.folder.name == "toy-int8-onnxruntime"
        assert tuned.folder.name == "toy-int8-onnxruntime-qat"

    def test_the_second_build_runs_no_stage(self, house, tuned) -> None:
        events = Recorder()
        assert house.build(*QAT, events=events).record == tuned.record
        assert events.ran == []

    def test_other_settings_of_it_are_another_network(self, house, tuned) -> None:
        events = Recorder()
        house.build(*QAT, "qat.temperature=2", until="export", events=events)
        assert events.ran == ["qat", "export"]


def test_with_and_without_stand_in_one_table(plain, tuned, house, tmp_path) -> None:
    with contextlib.chdir(house.cwd):
        done = bench([plain.folder, tuned.folder], 2, 1, 1, tmp_path / "bench", Recorder())
    assert [row.notes for row in done.report.rows] == [(), (), (NOTE,)]
    names = [row.name for row in done.report.rows]
    assert names == ["toy-fp32-pytorch", "toy-int8-onnxruntime", "toy-int8-onnxruntime-qat:onnxruntime"]


class TestUntil:
    def test_training_alone_does_without(self, room) -> None:
        built = room.build(*QAT, until="train")
        assert [stage.name for stage in built.record.stages] == ["train"]
        assert built.folder.name == "toy-network"

    def test_an_export_is_what_the_engines_will_be_made_from(self, room) -> None:
        built = room.build(*QAT, until="export")
        assert [stage.name for stage in built.record.stages] == ["train", "qat", "export"]
        assert built.folder.name == "toy-onnx-qat"


class TestCheckpoint:
    def test_is_tuned_with_the_augmentation_that_was_asked_for(self, room, checkpoint) -> None:
        built = room.build(*QAT, f"model.checkpoint={checkpoint}", "augment.hflip=0", until="export")
        assert [stage.name for stage in built.record.stages] == ["load", "qat", "export"]
        assert read_spec(built.folder / "network-qat").trained_steps == 9

    def test_without_fine_tuning_that_is_refused(self, room, checkpoint) -> None:
        with pytest.raises(UsageError, match=r"augment\.hflip is for training, but the network comes from"):
            room.build(*INT8, f"model.checkpoint={checkpoint}", "augment.hflip=0")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_another_precision_is_refused_before_anything_runs(tmp_path, precision) -> None:
    events = Recorder()
    words = rf"qat\.steps = 2 fine-tunes for int8, but the precision is {precision}: add --precision int8, or leave"
    with pytest.raises(UsageError, match=words):
        House(tmp_path / "cache", tmp_path).build(f"precision={precision}", "qat.steps=2", events=events)
    assert events.started == []


def test_the_option_is_the_recipes_field() -> None:
    shared = {
        "size": None,
        "dataset": None,
        "checkpoint": None,
        "threads": None,
        "model": None,
        "styles": (),
        "task": None,
    }
    shared |= {"recipe_file": TOY, "overrides": ()}
    assert recipe_of(shared, {"qat.steps": 5}).qat.steps == 5
    assert recipe_of(shared, {"qat.steps": None}).qat.steps == 0


def test_the_command_takes_it_with_int8_alone(room) -> None:
    done = room.deploy("build", "--recipe", TOY, "--precision", "fp16", "--qat", "5")
    assert done.returncode == 2
    assert "qat.steps = 5 fine-tunes for int8" in done.stderr
    assert "--qat STEPS" in room.deploy("build", "--help").stdout


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ((), (8, False)),
        (("calibration.weight_bits=7",), (7, False)),
        (("calibration.scheme=tensorrt", "calibration.weight_bits=8"), (8, True)),
    ],
)
def test_it_is_tuned_for_the_codes_of_its_engines(monkeypatch, given, codes) -> None:
    monkeypatch.setattr("visiondeploy.pipeline.plan.has_vnni", lambda: True)
    assert Plan(resolve(None, TOY, (*INT8, *given), {})).codes == codes


def test_a_recipe_may_have_its_section_and_keeps_it(tmp_path) -> None:
    text = TOY.read_text(encoding="utf-8") + "\n[qat]\nsteps = 9\ntask_weight = 0\n"
    recipe = parse_recipe(text, "mine.toml")
    assert (recipe.qat.steps, recipe.qat.task_weight, recipe.qat.learning_rate) == (9, 0, 2e-4)
    assert parse_recipe(recipe.to_toml(), "again.toml") == recipe
    assert json.loads(recipe.model_dump_json())["qat"]["steps"] == 9
