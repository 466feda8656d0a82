"""The layers of real builds."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import pytest
from kit.builds import LAYERS, House, flip

from visiondeploy.errors import InputError, IntegrityError, UsageError
from visiondeploy.pipeline.folder import BUILD
from visiondeploy.pipeline.inspection import NOT_SAID, Inspection, StageInspection, inspect

MACS = 2_525_184
"""Of the toy at 32×48, by hand as in `backends/test_onnx_inside.py`."""


@pytest.fixture(scope="module")
def int8(house):
    return house.build("precision=int8", until="compile").folder


@pytest.fixture(scope="module")
def stages(int8) -> dict[str, StageInspection]:
    return {stage.name: stage for stage in inspect(int8, None).stages}


def edited(house: House, tmp_path, change):
    """A build whose record was changed."""
    folder = House(house.store, tmp_path).build("precision=int8", until="compile").folder
    found = json.loads((folder / BUILD).read_text(encoding="utf-8"))
    change(found["build"])
    (folder / BUILD).write_text(json.dumps(found), encoding="utf-8")
    return folder


class TestInspect:
    def test_all_that_has_layers_is_there(self, stages) -> None:
        onnx = ["onnx-fp32", "onnx-int8-cpu", "onnx-int8-cpu-onnxruntime"]
        assert list(stages) == [*onnx, "engines/openvino", "engines/onnxruntime"]

    def test_every_one_does_the_same_work(self, stages) -> None:
        assert {stage.totals.macs for stage in stages.values()} == {MACS}
        products = {name: [layer.name for layer in stage.layers if layer.macs] for name, stage in stages.items()}
        assert {len(names) for names in products.values()} == {LAYERS}
        assert {frozenset(names) for names in products.values()} == {frozenset(products["onnx-fp32"])}
        assert "encoder.0.3" in products["onnx-fp32"]

    def test_totals_are_those_of_their_parts(self, stages) -> None:
        for stage in stages.values():
            for groups in (stage.by_kind, stage.by_type):
                assert sum(part.layers for part in groups.values()) == stage.totals.layers == len(stage.layers)
                for name in ("parameters", "weight_bytes", "macs"):
                    assert sum(getattr(part, name) for part in groups.values()) == getattr(stage.totals, name)

    def test_types_are_the_realised_ones_of_an_engine(self, stages) -> None:
        assert stages["onnx-fp32"].by_type["fp32"].layers == LAYERS
        assert stages["onnx-int8-cpu"].by_type["int8"].layers == LAYERS
        realised = stages["engines/onnxruntime"]
        assert (realised.by_type["int8"].layers, realised.by_type["fp32"].layers) == (LAYERS - 1, 1)
        assert [layer.name for layer in realised.layers if layer.compute == "fp32"] == ["head"]
        openvino = stages["engines/openvino"]
        assert Counter(layer.compute for layer in openvino.layers if layer.macs) == {"int8": LAYERS}
        assert NOT_SAID not in openvino.by_type
        assert not openvino.notes
        assert not realised.notes

    def test_one_stage_may_be_named_by_name_or_by_path(self, int8) -> None:
        (by_name,) = inspect(int8, "engines/openvino").stages
        (by_path,) = inspect(int8 / "engines" / "openvino", None).stages
        assert by_name == by_path
        assert by_name.backend == "openvino"

    def test_its_json_is_all_of_it(self, int8) -> None:
        found: Inspection = inspect(int8, None)
        content = json.loads(found.to_json())
        assert content.pop("schema") == "visiondeploy.inspection/1"
        assert content == json.loads(json.dumps(asdict(found)))

    def test_of_a_backend_that_tells_nothing_there_are_the_recorded_products(self, house) -> None:
        (pytorch,) = inspect(house.build("backend=pytorch", until="compile").folder, "engines/pytorch").stages
        assert pytorch.totals.macs == MACS
        assert {layer.kind for layer in pytorch.layers} == {"Conv2d", "ConvTranspose2d"}
        (script,) = inspect(house.build("backend=torchscript", until="compile").folder, "engines/torchscript").stages
        assert [layer.compute for layer in script.layers] == ["fp32"] * LAYERS
        assert script.totals.macs is None
        assert script.notes == ("the products as they were recorded when it was built: torchscript tells of no others",)

    def test_so_there_are_of_one_that_this_release_does_not_have(self, house, tmp_path) -> None:
        def change(record) -> None:
            record["engines"][0]["backend"] = "coreml"
            record["engines"][0]["layers"] = [
                {"name": "head", "kind": "correlation", "compute": "int8", "provider": "npu"}
            ]

        (found,) = inspect(edited(house, tmp_path, change), "engines/openvino").stages
        (head,) = found.layers
        assert (head.kind, head.compute, head.provider) == ("correlation", "int8", "npu")

    def test_a_type_that_is_another_than_when_it_was_built_is_noted(self, house, tmp_path) -> None:
        def change(record) -> None:
            record["engines"][0]["layers"][0]["compute"] = "fp32"

        (found,) = inspect(edited(house, tmp_path, change), "engines/openvino").stages
        assert found.notes == ("products here: 13 int8; when it was built: 12 int8, 1 fp32",)


class TestBadInput:
    def test_no_build(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"is no build: it has no build\.json"):
            inspect(tmp_path, None)

    def test_a_stage_that_does_not_exist(self, int8) -> None:
        with pytest.raises(UsageError, match="no stage 'onnx-int8-cpus': did you mean 'onnx-int8-cpu'"):
            inspect(int8, "onnx-int8-cpus")

    @pytest.mark.parametrize("place", ["network", "onnx-fp16", "engines"])
    def test_a_folder_of_a_build_without_layers(self, int8, place) -> None:
        with pytest.raises(InputError, match=r"holds neither an ONNX file nor an engine .* choose one of onnx-fp32, "):
            inspect(int8 / place, None)

    def test_a_stage_of_a_stage(self, int8) -> None:
        with pytest.raises(UsageError, match="--stage onnx-fp32 is for folders of builds"):
            inspect(int8 / "onnx-fp32", "onnx-fp32")

    def test_a_build_that_ended_before(self, house) -> None:
        with pytest.raises(UsageError, match="ends with stage 'train', and has neither"):
            inspect(house.build(until="train").folder, None)

    def test_a_file_that_was_changed(self, room) -> None:
        folder = room.build("precision=int8", until="compile").folder
        flip(folder / "engines" / "openvino" / "model.bin")
        assert inspect(folder, "onnx-fp32").stages
        with pytest.raises(IntegrityError, match=r"model\.bin has other bytes than were built"):
            inspect(folder, None)
