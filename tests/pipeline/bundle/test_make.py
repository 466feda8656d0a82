"""Bundles of real builds: what is in them, that they are the same each time, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil

import numpy as np
import pytest
from kit.builds import contents, flip
from kit.bundles import keys
from kit.bundling import bundled, failing, saying
from kit.rtx import needs_rtx, no_gpu

from visiondeploy.errors import EnvironmentMismatch, GateFailed, InputError, IntegrityError, UsageError
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.bundle import golden
from visiondeploy.pipeline.bundle.archive import unpack
from visiondeploy.pipeline.bundle.checked import checked
from visiondeploy.pipeline.bundle.checks import Asked, Mark, findings
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE, Manifest, Role
from visiondeploy.pipeline.bundle.signing import check_signature
from visiondeploy.types import Outcome

ENGINES = {"openvino": {"engine.json", "model.bin", "model.xml"}, "onnxruntime": {"model.onnx"}}


def manifest_in(folder) -> Manifest:
    return Manifest.from_json((folder / MANIFEST).read_bytes())


@pytest.fixture(params=["openvino", "onnxruntime"])
def made(request):
    return request.getfixturevalue(f"of_{request.param}")


class TestWhatIsInIt:
    def test_every_digest_is_true_and_nothing_else_is_there(self, made) -> None:
        listed = {entry.path: (entry.sha256, entry.size) for entry in manifest_in(made).files}
        found = {name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in contents(made).items()}
        found.pop(MANIFEST)
        assert found == listed

    def test_modes_do_not_hang_on_the_user(self, made) -> None:
        assert {path.stat().st_mode & 0o7777 for path in made.rglob("*") if path.is_file()} == {0o644}
        assert {path.stat().st_mode & 0o7777 for path in (made, *made.rglob("*")) if path.is_dir()} == {0o755}

    def test_it_is_what_the_verifier_reads(self, made) -> None:
        with checked(made) as (_, manifest):
            assert manifest == manifest_in(made)

    def test_the_engine_lies_where_triton_looks_for_it(self, made) -> None:
        manifest = manifest_in(made)
        version = made / "triton" / "toy-fp32" / "1"
        assert manifest.engine.folder == "triton/toy-fp32/1"
        assert {path.name for path in version.iterdir()} == ENGINES[manifest.engine.backend]
        assert {entry.path.rpartition("/")[0] for entry in manifest.of(Role.ENGINE)} == {manifest.engine.folder}

    def test_the_onnx_file_is_there_once(self, made) -> None:
        manifest = manifest_in(made)
        models = [entry.path for entry in manifest.files if entry.path.endswith(".onnx")]
        own = manifest.engine.backend == "onnxruntime"
        assert models == ["triton/toy-fp32/1/model.onnx" if own else "model/model.onnx"]

    def test_golden_outputs_come_out_again_bit_for_bit(self, made) -> None:
        manifest = manifest_in(made)
        assert manifest.tolerances.exact
        runs = golden.read(made)
        assert len(runs) == 4
        with BACKENDS[manifest.engine.backend].load(made / manifest.engine.folder, manifest.engine.threads) as session:
            for feeds, outputs in runs:
                found = session.infer(feeds)
                assert found.keys() == outputs.keys()
                assert all(np.array_equal(found[name], outputs[name]) for name in outputs)

    def test_nothing_tells_of_the_machine_that_it_was_made_on(self, made, house, store_root) -> None:
        for name, data in contents(made).items():
            for place in (house.cwd, store_root, made.parent):
                assert str(place).encode() not in data, name

    def test_it_says_what_it_runs_on(self, made) -> None:
        target, engine = manifest_in(made).target, manifest_in(made).engine
        assert target.kind == "cpu"
        assert list(target.runtimes) == [engine.backend]
        assert not target.bound
        assert sum(engine.realised.values()) == 13


class TestTheSameEachTime:
    def test_from_wherever_it_is_made(self, floats, made, tmp_path) -> None:
        backend = manifest_in(made).engine.backend
        shutil.copytree(floats, tmp_path / "elsewhere" / "renamed")
        with contextlib.chdir(tmp_path):
            again = bundled(tmp_path / "elsewhere" / "renamed", tmp_path / "other", backend=backend).path
        assert contents(again) == contents(made)

    def test_as_an_archive_too(self, floats, of_onnxruntime, tmp_path) -> None:
        one = bundled(floats, tmp_path / "one.tar.zst", backend="onnxruntime").path
        with contextlib.chdir(tmp_path):
            two = bundled(floats, tmp_path / "two.tar.zst", backend="onnxruntime").path
        assert one.read_bytes() == two.read_bytes()
        (tmp_path / "laid out").mkdir()
        unpack(one, tmp_path / "laid out")
        assert contents(tmp_path / "laid out") == contents(of_onnxruntime)

    def test_a_second_time_at_the_same_place_changes_nothing(self, floats, tmp_path) -> None:
        target = bundled(floats, tmp_path / "toy").path
        before = {path: path.stat().st_ino for path in target.rglob("*")}
        bundled(floats, target)
        assert {path: path.stat().st_ino for path in target.rglob("*")} == before


class TestTheGate:
    def test_a_build_that_does_not_pass_is_refused(self, floats, tmp_path) -> None:
        bad = saying(floats, tmp_path / "bad", failing)
        with pytest.raises(GateFailed, match=r"FAIL \(toy: miou: expected at most 0.5 points, found −3 points\)"):
            bundled(bad, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_forced_it_says_so(self, floats, tmp_path) -> None:
        bad = saying(floats, tmp_path / "bad", failing)
        target = bundled(bad, tmp_path / "out", force=True).path
        verdict = manifest_in(target).verdict
        assert (verdict.status, verdict.forced) == (Outcome.FAIL, True)
        assert verdict.first.startswith("toy: miou")
        assert "made with `--force`" in (target / "MODEL_CARD.md").read_text()

    def test_force_does_nothing_to_one_that_passes(self, floats, of_openvino, tmp_path) -> None:
        target = bundled(floats, tmp_path / "toy", backend="openvino", force=True).path
        assert contents(target) == contents(of_openvino)


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["engines/openvino/model.bin", "onnx-fp32/model.onnx"])
    def test_a_file_that_was_changed(self, floats, tmp_path, name) -> None:
        shutil.copytree(floats, tmp_path / "build")
        flip(tmp_path / "build" / name)
        with pytest.raises(IntegrityError, match=name):
            bundled(tmp_path / "build", tmp_path / "out", backend="openvino")
        assert [path.name for path in tmp_path.iterdir()] == ["build"]

    def test_an_engine_that_was_measured_with_another_runtime(self, floats, tmp_path) -> None:
        old = saying(floats, tmp_path / "old", lambda found: found["environment"]["versions"].update(openvino="2020.1"))
        with pytest.raises(EnvironmentMismatch, match=r"measured with openvino 2020.1"):
            bundled(old, tmp_path / "out", backend="openvino")

    def test_an_engine_that_was_measured_elsewhere(self, floats, tmp_path) -> None:
        other = saying(floats, tmp_path / "other", lambda found: found["environment"].update(isa=["sve"]))
        with pytest.raises(EnvironmentMismatch, match="measured on x86_64 with sve"):
            bundled(other, tmp_path / "out")

    def test_a_build_that_was_not_measured(self, room, tmp_path) -> None:
        built = room.build(until="compile")
        with pytest.raises(UsageError, match="ends with stage 'compile' and was not measured"):
            bundled(built.folder, tmp_path / "out")

    def test_an_engine_that_is_not_there(self, floats, tmp_path) -> None:
        with pytest.raises(UsageError, match=r"no engine of .* for backend 'openvini': did you mean 'openvino'"):
            bundled(floats, tmp_path / "out", backend="openvini")

    def test_an_engine_that_is_none_of_a_server(self, house, tmp_path) -> None:
        built = house.build("backend=torchscript")
        with pytest.raises(UsageError, match="engines of torchscript load with this project's own code alone"):
            bundled(built.folder, tmp_path / "out")

    @pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", 129 * "n"])
    def test_names_that_are_none(self, floats, tmp_path, name) -> None:
        with pytest.raises(UsageError, match="is no name"):
            bundled(floats, tmp_path / "out", name=name)

    def test_what_is_no_build(self, tmp_path) -> None:
        with pytest.raises(InputError, match="is no build"):
            bundled(tmp_path / "nothing", tmp_path / "out")


def test_name_and_version_are_those_of_the_model(floats, tmp_path) -> None:
    target = bundled(floats, tmp_path / "out", backend="onnxruntime", name="fair", version=7).path
    manifest = manifest_in(target)
    assert (manifest.name, manifest.version, manifest.engine.folder) == ("fair", 7, "triton/fair/7")
    assert (target / "triton" / "fair" / "7" / "model.onnx").is_file()
    assert 'name: "fair"' in (target / "triton" / "fair" / "config.pbtxt").read_text()
    assert json.loads((target / "mlserver" / "model-settings.json").read_text())["parameters"]["version"] == "7"


def test_signed_it_holds_for_the_key_and_is_the_same_otherwise(floats, of_openvino, tmp_path) -> None:
    pair = keys(tmp_path)
    target = bundled(floats, tmp_path / "out", backend="openvino", key=pair.private).path
    check_signature(target, manifest_in(target), pair.public)
    found = contents(target)
    found.pop(SIGNATURE)
    assert found == contents(of_openvino)
    bundled(floats, target, backend="openvino", key=pair.private)
    with pytest.raises(UsageError, match="another bundle"):
        bundled(floats, target, backend="openvino")


def test_raw_images_go_in_and_class_maps_come_out(bytes_, tmp_path) -> None:
    target = bundled(bytes_, tmp_path / "out", backend="openvino").path
    manifest = manifest_in(target)
    (image,), (classes,) = manifest.contract.inputs, manifest.contract.outputs
    assert (image.dtype, image.shape, image.layout, image.low, image.high) == ("uint8", (-1, 32, 48, 3), "NHWC", 0, 255)
    assert (classes.dtype, classes.shape, classes.layout, classes.high) == ("uint8", (-1, 32, 48), "NHW", 7)
    assert manifest.contract.preprocessing.done
    assert (manifest.tolerances.sqnr_db, manifest.tolerances.agreement) == (None, 0.999)
    (feeds, outputs), *_ = golden.read(target)
    assert (feeds["image"].dtype, outputs["classes"].shape) == (np.uint8, (1, 32, 48))


@needs_rtx
@pytest.mark.skipif(no_gpu() is None, reason="a GPU is here, which runs the engine itself")
def test_an_engine_for_another_machine_has_the_golden_outputs_of_its_source(house, tmp_path) -> None:
    built = house.build("backend=tensorrt-rtx", "engine.targets=['sm_86', 'sm_89']", "precision=fp16")
    with pytest.raises(GateFailed, match="INCONCLUSIVE"):
        bundled(built.folder, tmp_path / "out")
    target = bundled(built.folder, tmp_path / "out", force=True).path
    manifest = manifest_in(target)
    assert (manifest.target.kind, manifest.target.gpus, manifest.target.bound) == ("gpu", ("sm_86", "sm_89"), True)
    assert (manifest.tolerances.made_by, manifest.tolerances.exact) == ("source", False)
    assert manifest.engine.folder == "engine"
    assert {path.name for path in (target / "engine").iterdir()} == {"engine.json", "model.plan"}
    assert not (target / "triton").exists()
    assert "Triton has no backend that reads engines of tensorrt-rtx" in (target / "MODEL_CARD.md").read_text()
    *_, contract, _, last = findings(target, Asked(run=False))
    assert (contract.name, contract.mark, last.name, last.exit_code) == ("contract", Mark.OK, "target", 5)
