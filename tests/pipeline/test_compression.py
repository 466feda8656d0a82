"""Builds of compressed networks: what is compared with what, what is chosen, and what is never returned."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from kit.builds import Recorder
from PIL import Image

from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.errors import UsageError
from visiondeploy.models.checkpoint import load_network, read_spec
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.stages import measure as measuring

TUNED = ("finetune.steps=2", "finetune.batch_size=2", "finetune.workers=0")
BASE = ("backend=onnxruntime", "compress.multiple=1", "compress.images=4", *TUNED)
BOTH = (*BASE, "compress.separable=true", "compress.prune=0.5", "compress.seed=3")


def timed(monkeypatch, factor: float) -> None:
    """Have the engines of all variants but the dense one take `factor` of its time. A machine would not, on demand."""
    measure = measuring.measure

    def slow(contenders, *given):
        found = measure(contenders, *given)
        rows = list(found.rows)
        dense = next((row for row in rows if "-dense-" in row.name), None)
        for index, row in enumerate(rows):
            if dense is not None and row is not dense and row.backend != "pytorch":
                blocks = tuple(block * factor for block in dense.latency_ms.blocks)
                rows[index] = row.model_copy(
                    update={"latency_ms": row.latency_ms.model_copy(update={"blocks": blocks})}
                )
        return replace(found, rows=rows)

    monkeypatch.setattr(measuring, "measure", slow)


@pytest.fixture(autouse=True)
def _smaller_is_faster(monkeypatch) -> None:
    """What is chosen does not hang on how fast channels of such odd numbers are on this CPU."""
    timed(monkeypatch, 0.9)


@pytest.fixture
def small(house):
    return house.build(*BOTH)


@pytest.fixture
def variants(house):
    return house.build(*BOTH, until="compress")


class TestWhatComesOut:
    def test_steps_stand_between_network_and_export(self, small) -> None:
        names = [stage.name for stage in small.record.stages]
        steps = [name for name in names if name.startswith(("compress", "finetune"))]
        assert steps == [
            "compress: separable",
            "finetune: separable",
            "compress: separable-pruned",
            "finetune: separable-pruned",
        ]
        assert names.index("finetune: separable-pruned") < names.index("export")

    def test_engines_have_the_small_network_and_the_baseline_the_one_before(self, small) -> None:
        baseline, engine = small.report.rows
        spec = read_spec(small.folder / "network-compressed")
        assert [change.kind for change in spec.changes] == ["separable", "prune"]
        assert read_spec(small.folder / "network").changes == ()
        module = load_network(small.folder / "network-compressed").module
        assert engine.parameters == sum(parameter.numel() for parameter in module.parameters())
        assert baseline.parameters == small.record.parameters > 3 * engine.parameters
        assert baseline.agreement.exact
        assert not engine.agreement.exact

    def test_it_is_named_after_what_was_done(self, small) -> None:
        assert small.folder.name == "toy-separable-pruned50-fp32-onnxruntime"
        assert small.report.rows[1].name == "toy-separable-pruned50-fp32-onnxruntime"

    def test_both_networks_say_how_long_they_were_trained(self, small) -> None:
        steps = [read_spec(small.folder / place).trained_steps for place in ("network", "network-compressed")]
        assert steps == [2, 6]

    def test_pixels_need_not_agree_with_another_networks(self, small) -> None:
        assert not [check.name for check in small.report.verdict.checks if "agreement" in check.name]
        assert [check.name for check in small.report.verdict.checks if check.name.endswith("miou")]

    def test_the_second_build_runs_no_stage(self, house, small) -> None:
        events = Recorder()
        assert house.build(*BOTH, events=events).record == small.record
        assert events.ran == []

    def test_the_folder_has_all_variants_and_their_picture(self, small) -> None:
        place = small.folder / "compression"
        report = Report.from_json((place / "report.json").read_text())
        assert [variant.name for variant in report.compression.variants] == ["dense", "separable", "separable-pruned"]
        with Image.open(place / "pareto.png") as picture:
            assert picture.size[0] >= 600
        assert (place / "pareto.svg").read_text().startswith("<?xml")
        assert "encoder.1.3" in (place / "compression.md").read_text()
        found = json.loads((small.folder / "build.json").read_text())["compression"]
        assert [variant["row"] for variant in found["variants"]] == [None, None, None]

    def test_it_is_benched_with_the_build_it_comes_from(self, house, small, tmp_path) -> None:
        plain = house.build("backend=onnxruntime")
        found = bench([plain.folder, small.folder], 2, 0.5, 1, tmp_path / "bench", Recorder())
        assert [row.parameters for row in found.report.rows] == [
            plain.record.parameters,
            plain.record.parameters,
            small.report.rows[1].parameters,
        ]

    def test_int8_and_raw_images_come_after(self, house) -> None:
        built = house.build(*BOTH, "precision=int8", "export.io=uint8")
        engine = built.report.rows[1]
        assert engine.realised["int8"] > 0
        assert engine.parameters < built.record.parameters

    def test_without_fine_tuning_the_network_is_only_changed(self, house) -> None:
        built = house.build(*BASE, "compress.separable=true", "finetune.steps=0", until="compress")
        assert read_spec(built.folder / "network-compressed").trained_steps == 2
        assert "finetune: separable" not in [stage.name for stage in built.record.stages]


class TestTheReportOfVariants:
    def test_every_variant_is_a_row_of_one_run(self, variants) -> None:
        rows = [row.name for row in variants.report.rows]
        assert rows == ["toy-fp32-pytorch"] + [
            f"toy-{name}-fp32-onnxruntime" for name in ("dense", "separable", "separable-pruned")
        ]
        assert all(row.speedup and row.quality for row in variants.report.rows)

    def test_layers_are_told_before_and_after_in_the_order_in_which_they_run(self, variants) -> None:
        layers = variants.report.compression.layers
        assert [layer.before.name for layer in layers][:3] == ["encoder.0.0", "encoder.0.3", "encoder.1.0"]
        halves = [after.name for after in layers[3].after]
        assert halves == ["encoder.1.3.depthwise", "encoder.1.3.pointwise"]
        before = sum(layer.before.parameters for layer in layers)
        assert before > 3 * sum(after.parameters for layer in layers for after in layer.after)
        assert all(layer.before.milliseconds for layer in layers)

    def test_variants_cost_less_each_time(self, variants) -> None:
        found = variants.report.compression.variants
        assert found[0].parameters > found[1].parameters > found[2].parameters
        assert found[0].macs > found[1].macs > found[2].macs
        assert all(one.untuned is not None and one.tuned is not None for one in found[1:])

    def test_rounds_are_variants_of_their_own(self, house) -> None:
        built = house.build(*BASE, "compress.prune=0.6", "compress.rounds=2", until="compress")
        found = built.report.compression.variants
        assert [one.name for one in found] == ["dense", "pruned-1", "pruned-2"]
        assert found[2].parameters <= 0.4 * found[0].parameters < found[1].parameters


class TestSlowerNetworks:
    def test_one_that_is_slower_is_said_and_not_returned(self, room, monkeypatch) -> None:
        timed(monkeypatch, 1.1)
        events = Recorder()
        built = room.build(*BASE, "compress.prune=0.05", "compress.seed=1", until="compress", events=events)
        assert built.report.compression.chosen == "dense"
        assert read_spec(built.folder / "network-compressed").changes == ()
        assert any("slower than the uncompressed network" in warning for warning in events.warnings)
        (check,) = (one for one in built.report.verdict.checks if "speed" in one.name)
        assert check.status == "FAIL"
        assert "dense is used" in check.found

    def test_one_that_is_faster_is_returned(self, room, monkeypatch) -> None:
        timed(monkeypatch, 0.9)
        built = room.build(*BASE, "compress.prune=0.05", "compress.seed=2", until="compress")
        assert built.report.compression.chosen == "pruned"
        assert {one.status for one in built.report.verdict.checks if "speed" in one.name} == {"PASS"}


class TestBudgets:
    def test_times_of_layers_are_measured_on_the_backend(self, house) -> None:
        built = house.build(*BASE, 'compress.budget="latency=1x"', until="compress")
        (times,) = (stage for stage in built.record.stages if stage.name == "time layers")
        assert len(times.meta["milliseconds"]) > 20
        assert min(times.meta["milliseconds"]) > 0


def test_a_compressed_network_can_be_compressed_again(room, small) -> None:
    checkpoint = small.folder / "network-compressed"
    built = room.build(*BASE, "compress.prune=0.3", f"model.checkpoint={checkpoint}", until="compress")
    dense, pruned = (read_spec(built.folder / place) for place in ("network", "network-compressed"))
    assert [change.kind for change in dense.changes] == ["separable", "prune"]
    assert [change.kind for change in pruned.changes] == ["separable", "prune", "prune"]
    assert built.report.baseline.parameters == small.report.rows[1].parameters


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("compress.prune=0.5", "compress.importance=tailor"), "did you mean 'taylor'"),
        (("compress.prune=0.5", "backend=pytorch"), "runs the baseline"),
        (('compress.budget="latency=0.5x"', "backend=torchscript"), "choose --backend openvino or onnxruntime"),
        (("compress.prune=0.5", 'compress.budget="params=0.5x"'), "give one of them"),
        (("compress.prune=1.5",), "compress.prune"),
        (("compress.budget=fast",), "is no budget"),
    ],
)
def test_what_cannot_be_is_said_before_any_stage_runs(house, overrides, said) -> None:
    events = Recorder()
    with pytest.raises(UsageError, match=said):
        house.build(*overrides, events=events)
    assert events.started == []


def test_weighing_needs_no_engine_that_runs_here(house, monkeypatch) -> None:
    """As with TensorRT where there is no GPU: the network is made smaller all the same, and nothing is timed."""
    from visiondeploy.pipeline.backends.onnxruntime import OnnxRuntimeBackend

    monkeypatch.setattr(OnnxRuntimeBackend, "unrunnable", lambda self: "no device, says the test")
    events = Recorder()
    built = house.build(*BOTH, until="compress", events=events)
    assert built.report is None
    assert any("no variant is timed" in warning for warning in events.warnings)
    assert len(read_spec(built.folder / "network-compressed").changes) == 2
