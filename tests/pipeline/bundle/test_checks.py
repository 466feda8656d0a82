"""What `deploy verify` says of bundles of real builds, and of such as were changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from kit.builds import deploy, flip
from kit.bundles import Keys, keys, put
from kit.bundling import bundled, failing, saying
from safetensors.numpy import load_file, save

from visiondeploy.pipeline.bundle import fit, triton
from visiondeploy.pipeline.bundle.archive import pack
from visiondeploy.pipeline.bundle.checks import CHECKS, Asked, Finding, Mark, findings
from visiondeploy.pipeline.bundle.golden import INPUTS, OUTPUTS
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.bundle.signing import sign

QUICK = Asked(run=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Keys:
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def copy(of_openvino, tmp_path) -> Path:
    return Path(shutil.copytree(of_openvino, tmp_path / "copy"))


@pytest.fixture
def onnx_copy(of_onnxruntime, tmp_path) -> Path:
    return Path(shutil.copytree(of_onnxruntime, tmp_path / "copy"))


def last(bundle: Path, asked: Asked = QUICK) -> Finding:
    *_, found = findings(bundle, asked)
    return found


def edit(bundle: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    """Change the manifest, with the digests and sizes that fit what is there now."""
    content = json.loads((bundle / MANIFEST).read_bytes())
    for entry in content["files"]:
        data = (bundle / entry["path"]).read_bytes()
        entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    change(content)
    put(bundle / MANIFEST, Manifest.model_validate(content).to_json().encode())
    return bundle


def retarget(bundle: Path, **changes: object) -> Path:
    """Another target in the manifest, and what follows from it in Triton's configuration."""
    edit(bundle, lambda it: it["target"].update(changes))
    made = Manifest.from_json((bundle / MANIFEST).read_bytes())
    text = triton.config_of(made.name, made.contract, made.engine, made.target, bundle / made.engine.folder)
    put(bundle / triton.FOLDER / made.name / triton.CONFIG, text.encode())
    return edit(bundle)


class TestHolds:
    @pytest.mark.parametrize("name", ["of_openvino", "of_onnxruntime"])
    def test_a_bundle_as_it_was_made_does_and_its_golden_runs_are_bit_equal(self, name, request) -> None:
        found = list(findings(request.getfixturevalue(name), Asked()))
        assert [one.name for one in found] == list(CHECKS)
        assert {one.name: one.mark for one in found if one.mark is not Mark.OK} == {"signature": Mark.SKIPPED}
        assert found[-1].found.endswith("bit-equal")
        assert not any(one.exit_code for one in found)

    def test_so_does_one_of_raw_images(self, bytes_, tmp_path) -> None:
        assert last(bundled(bytes_, tmp_path / "b").path, Asked()).found.endswith("bit-equal")

    def test_signed_and_packed_it_does_too(self, copy, pair, tmp_path) -> None:
        sign(copy, pair.private)
        pack(copy, tmp_path / "b.tar.zst")
        found = {one.name: one for one in findings(tmp_path / "b.tar.zst", Asked(pair.public, run=False))}
        assert found["signature"].mark is Mark.OK
        assert (found["golden"].mark, found["golden"].found) == (Mark.SKIPPED, "not run: --no-run")

    def test_a_verdict_that_was_forced_is_said(self, floats, tmp_path) -> None:
        build = saying(floats, tmp_path / "build", failing)
        found = {one.name: one for one in findings(bundled(build, tmp_path / "b", force=True).path, QUICK)}
        assert found["verdict"].mark is Mark.WARNING
        assert "FAIL" in found["verdict"].found


def another_output(bundle: Path) -> None:
    path = bundle / OUTPUTS
    put(path, save({name: value + np.float32(1e-6) for name, value in load_file(path).items()}))


def far_output(bundle: Path) -> None:
    path = bundle / OUTPUTS
    put(path, save({name: -value for name, value in load_file(path).items()}))


class TestGolden:
    def test_outputs_that_are_not_equal_on_the_processor_that_made_them_fail(self, copy) -> None:
        another_output(copy)
        found = last(edit(copy), Asked())
        assert (found.mark, found.exit_code) == (Mark.FAIL, 1)
        assert "not bit-equal" in found.found

    def test_elsewhere_they_are_held_against_the_tolerance(self, copy) -> None:
        another_output(copy)
        found = last(edit(copy, lambda it: it["target"].update(cpu="another")), Asked())
        assert found.mark is Mark.OK
        assert "within tolerance: SQNR" in found.found

    def test_and_fail_where_they_do_not_hold_it(self, copy) -> None:
        far_output(copy)
        found = last(edit(copy, lambda it: it["target"].update(cpu="another")), Asked())
        assert (found.name, found.exit_code) == ("golden", 1)
        assert "too far" in found.found

    def test_without_a_tolerance_nothing_is_near(self, copy) -> None:
        another_output(copy)
        change = lambda it: (it["target"].update(cpu="another"), it["tolerances"].update(sqnr_db=None))  # noqa: E731
        assert "tolerates no difference" in last(edit(copy, change), Asked()).found

    def test_a_share_of_pixels_is_asked_for_too(self, copy) -> None:
        far_output(copy)
        limits = {"sqnr_db": None, "agreement": 1.0}
        change = lambda it: (it["target"].update(cpu="another"), it["tolerances"].update(limits))  # noqa: E731
        assert "equal class" in last(edit(copy, change), Asked()).found

    def test_what_the_runtime_does_not_load_is_bad_input(self, copy) -> None:
        path = next(copy.rglob("model.bin"))
        put(path, path.read_bytes()[:100])
        assert last(edit(copy), Asked()).exit_code in {1, 3}


def rename_output(bundle: Path) -> None:
    path = bundle / OUTPUTS
    put(path, save({name.replace("logits", "other"): value for name, value in load_file(path).items()}))


def retype_input(bundle: Path) -> None:
    path = bundle / INPUTS
    put(path, save({name: value.astype(np.float16) for name, value in load_file(path).items()}))


def swap_text(name: str, before: str, after: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        path = next(bundle.rglob(name))
        text = path.read_text()
        assert before in text
        put(path, text.replace(before, after).encode())

    return change


def colours(content: dict[str, Any]) -> None:
    content["contract"]["palette"][0] = [0, 0, 256]


CONTRADICTIONS: dict[str, tuple[Callable[[Path], object], Callable[[dict[str, Any]], object], str]] = {
    "input of the contract": (
        lambda _: None, lambda it: it["contract"]["inputs"][0].update(name="other"), "contract says other"),
    "type of the contract": (
        lambda _: None, lambda it: it["contract"]["outputs"][0].update(dtype="float16"), "float16"),
    "classes": (lambda _: None, lambda it: it["contract"].update(classes=["a"], palette=[]), "1 classes"),
    "palette": (lambda _: None, colours, "0 to 255"),
    "ignore_index": (lambda _: None, lambda it: it["contract"].update(ignore_index=0), "ignore_index 0"),
    "name in Triton": (swap_text("config.pbtxt", '"image"', '"imagf"'), lambda _: None, "config.pbtxt"),
    "batch in Triton": (
        swap_text("config.pbtxt", "max_batch_size: 1", "max_batch_size: -1"), lambda _: None, "max_batch_size: -1"),
    "MLServer": (swap_text("model-settings.json", "FP32", "FP16"), lambda _: None, "model-settings.json"),
    "golden name": (rename_output, lambda _: None, "golden output 'logits'"),
    "golden type": (retype_input, lambda _: None, "float16"),
    "golden damaged": (lambda at: put(at / OUTPUTS, b"\xff" * 20), lambda _: None, "safetensors"),
    "IR": (swap_text("model.xml", "logits", "logitz"), lambda _: None, "model.xml"),
    "IR is no XML": (lambda at: put(next(at.rglob("model.xml")), b"<net"), lambda _: None, "not what it should be"),
    "report": (swap_text("report.json", '"PASS"', '"FAIL"'), lambda _: None, "FAIL"),
    "engine elsewhere": (lambda _: None, lambda it: it["engine"].update(folder="model"), "engine"),
    "pickle": (
        lambda at: put(at / "model" / "model.pt", b"\x80\x04."),
        lambda it: it["files"].insert(
            next(n for n, one in enumerate(it["files"]) if one["path"] > "model/model.pt"),
            {"path": "model/model.pt", "role": "source", "size": 3, "sha256": hashlib.sha256(b"\x80\x04.").hexdigest()},
        ),
        "model.pt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_parts_that_contradict_each_other_are_found_though_their_digests_fit(name, copy) -> None:
    change, manifest, words = CONTRADICTIONS[name]
    change(copy)
    found = last(edit(copy, manifest))
    assert (found.name, found.mark, found.exit_code) == ("contract", Mark.FAIL, 3)
    assert words in found.found


def external(location: str, **more: int) -> Callable[[Path], None]:
    """The first weight of the engine lies elsewhere."""

    def change(bundle: Path) -> None:
        path = next((bundle / "triton").rglob("model.onnx"))
        model = onnx.load(path)
        tensor = model.graph.initializer[0]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.ClearField("raw_data")
        for key, value in {"location": location, **more}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        put(path, model.SerializeToString())

    return change


EXTERNAL = {
    "parent": external("../weights"),
    "absolute": external("/etc/passwd"),
    "missing": external("model.data"),
    "itself": external("model.onnx"),
    "negative offset": external("model.onnx", offset=-1, length=4),
    "beyond the end": external("model.onnx", offset=0, length=2**62),
}


@pytest.mark.parametrize("name", EXTERNAL)
def test_weights_in_other_files_are_refused_before_a_runtime_sees_the_graph(name, onnx_copy, monkeypatch) -> None:
    EXTERNAL[name](onnx_copy)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = last(edit(onnx_copy), Asked())
    assert (found.name, found.exit_code) == ("contract", 3)
    assert "in another file" in found.found


class TestTarget:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"runtimes": {"torchlite-nowhere": "1.0"}}, "pip install torchlite-nowhere"),
            ({"runtimes": {"openvino": "1.0"}, "bound": True}, "openvino==1.0"),
            ({"machine": "aarch64", "bound": True}, "bound to aarch64"),
        ],
        ids=["runtime absent", "runtime bound", "machine bound"],
    )
    def test_what_the_engine_needs_and_is_not_here_is_a_mismatch(self, change, words, copy) -> None:
        found = last(retarget(copy, **change))
        assert (found.name, found.exit_code) == ("target", 5)
        assert words in found.found

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"runtimes": {"openvino": "1.0"}}, "made with openvino 1.0"),
            ({"machine": "aarch64"}, "made on aarch64"),
            ({"isa": ["sve"]}, "lacks"),
        ],
        ids=["version", "machine", "isa"],
    )
    def test_a_mere_difference_is_a_warning(self, change, words, copy) -> None:
        found = list(findings(retarget(copy, **change), QUICK))
        assert not any(one.exit_code for one in found)
        assert any(words in one.found for one in found if (one.name, one.mark) == ("target", Mark.WARNING))

    def test_int8_for_vnni_does_not_fit_a_processor_without(self, bytes_, tmp_path, monkeypatch) -> None:
        made = bundled(bytes_, tmp_path / "b", backend="openvino").path
        retarget(made, isa=["avx2", "avx512_vnni"])
        real = fit.capture
        monkeypatch.setattr(fit, "capture", lambda threads: real(threads).model_copy(update={"isa": ("avx2",)}))
        found = last(made)
        assert (found.name, found.exit_code) == ("target", 5)
        assert "saturate" in found.found

    @pytest.mark.parametrize("name", ["tflite", "torchscript", "pytorch"])
    def test_a_backend_that_is_unknown_or_would_run_code_is_a_mismatch(self, name, copy) -> None:
        found = last(edit(copy, lambda it: it["engine"].update(backend=name)), Asked())
        assert (found.name, found.exit_code) == ("target", 5)
        assert "not loaded from bundles" in found.found


class TestOrder:
    def test_nothing_is_read_before_its_digest(self, copy, monkeypatch) -> None:
        """A bit of the engine: neither the graph's parser nor a runtime is asked."""
        flip(next(copy.rglob("model.bin")))
        for name in ("onnx", "openvino", "safetensors"):
            monkeypatch.setitem(sys.modules, name, None)
        found = last(copy, Asked())
        assert (found.name, found.exit_code) == ("digests", 4)

    def test_the_signature_comes_before_the_digests(self, copy, pair) -> None:
        sign(copy, pair.private)
        flip(next(copy.rglob("model.bin")))
        assert last(copy, Asked(pair.public)).name == "signature"


class TestCommand:
    def test_one_line_for_each_check_and_the_time(self, of_openvino, tmp_path) -> None:
        done = deploy("verify", of_openvino, "--no-run", cwd=tmp_path)
        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, "")
        assert [line.split()[1] for line in lines[:-1]] == list(CHECKS)
        assert lines[-1].startswith("verified ")

    def test_the_first_failure_is_the_last_line_and_the_exit_code(self, copy, tmp_path) -> None:
        put(copy / ".github" / "x.yml", b"")
        done = deploy("verify", copy, cwd=tmp_path)
        assert done.returncode == 4
        assert done.stdout.splitlines()[0].startswith("FAIL")
        assert "Traceback" not in done.stderr

    def test_json_has_all_of_it(self, copy, tmp_path) -> None:
        flip(next(copy.rglob("model.bin")))
        done = deploy("verify", copy, "--json", cwd=tmp_path)
        found = json.loads(done.stdout)
        assert found["schema"] == "visiondeploy.verification/1"
        assert found["exit_code"] == done.returncode == 4
        assert [one["status"] for one in found["checks"]] == ["ok", "skipped", "FAIL"]

    @pytest.mark.parametrize("name", ["nothing", "file", "empty"])
    def test_what_is_no_bundle_is_said_to_be_none(self, name, tmp_path) -> None:
        (tmp_path / "file").write_bytes(b"\x89PNG\r\n")
        (tmp_path / "empty").mkdir()
        done = deploy("verify", tmp_path / name, cwd=tmp_path)
        assert done.returncode == 3
        assert "expected a bundle" in done.stdout

    def test_it_runs_without_torch(self, of_openvino) -> None:
        code = """
import sys
from pathlib import Path
from visiondeploy.pipeline.bundle.checks import Asked, findings
found = list(findings(Path(sys.argv[1]), Asked()))
print(found[-1].mark, [name for name in ("torch", "torchvision", "matplotlib") if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", code, of_openvino], capture_output=True, text=True, check=True)
        assert done.stdout.split("\n")[0] == "ok []"
