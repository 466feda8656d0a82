"""Bundles embedded in a program: what is checked, what is run, and what an import costs."""

from __future__ import annotations

import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from kit import served
from kit.files import flip
from kit.served import CLASSES, CONTRACT, SIZE, images, write_bundle

from visiondeploy.errors import BackendUnavailable, InputError, IntegrityError, UsageError
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.pipeline.bundle.archive import pack
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest, Tensor
from visiondeploy.runtime import load
from visiondeploy.types import Sample


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def bundle(request, tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "small", request.param)


@pytest.fixture(scope="module")
def wanted(bundle) -> np.ndarray:
    return served.wanted(bundle)


class TestInfer:
    def test_it_gives_the_golden_outputs_bit_for_bit(self, bundle, wanted) -> None:
        with load(bundle) as model:
            found = np.concatenate([model.infer(image[None])["logits"] for image in images()])
        np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))

    def test_a_mapping_is_the_same_as_the_only_array(self, bundle, wanted) -> None:
        with load(str(bundle)) as model:
            np.testing.assert_array_equal(model.infer({"image": images()[:1]})["logits"], wanted[:1])

    def test_it_says_what_goes_in_and_comes_out(self, bundle) -> None:
        with load(bundle) as model:
            assert model.contract == CONTRACT
            assert model.manifest.name == "small"

    @pytest.mark.parametrize(
        ("feeds", "said"),
        [
            (images()[:1].astype(np.float64), "takes a NumPy array, float32"),
            (images()[:1, :2], "float32 of shape axis0×3×32×32"),
            (images()[0], "found float32 of shape 3×32×32"),
            ({"picture": images()[:1]}, "inputs are image, found picture"),
            ({}, "found nothing"),
            ([[1.0]], "found a list"),
        ],
    )
    def test_what_does_not_fit_is_one_sentence(self, bundle, feeds, said) -> None:
        with load(bundle) as model, pytest.raises(UsageError, match=said) as caught:
            model.infer(feeds)
        assert "\n" not in str(caught.value)

    def test_threads_may_share_it(self, bundle, wanted) -> None:
        with load(bundle) as model, ThreadPoolExecutor(4) as threads:
            asked = [number % len(wanted) for number in range(24)]
            found = list(threads.map(lambda number: model.infer(images()[number][None])["logits"], asked))
        for number, answer in zip(asked, found, strict=True):
            np.testing.assert_array_equal(answer[0], wanted[number])

    def test_an_archive_is_a_bundle_too(self, bundle, wanted, tmp_path) -> None:
        pack(bundle, tmp_path / "small.tar.zst")
        with load(tmp_path / "small.tar.zst") as model:
            np.testing.assert_array_equal(model.infer(images()[:1])["logits"], wanted[:1])

    def test_closed_it_is_closed(self, bundle) -> None:
        model = load(bundle)
        model.close()
        model.close()
        with pytest.raises(RuntimeError, match="closed"):
            model.infer(images()[:1])


class TestPredict:
    @pytest.mark.parametrize("size", [(SIZE, SIZE), (50, 20), (1, 1)])
    def test_it_is_what_the_task_makes_of_the_image(self, bundle, size) -> None:
        image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
        spec = NetworkSpec(
            architecture="unet",
            classes=CONTRACT.classes,
            palette=CONTRACT.palette,
            input=InputSpec(height=SIZE, width=SIZE),
        )
        task, sample = Segmentation(spec), Sample("image", image, None)
        with load(bundle) as model:
            found = model.predict(image)
            expected = task.classes(sample, model.infer(task.preprocess([sample])))
        assert found.dtype == np.uint8
        assert found.max() < CLASSES
        np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((4, 4, 3), np.float32),
            np.zeros((0, 4, 3), np.uint8),
            "image.png",
        ],
    )
    def test_what_is_no_image_is_refused(self, bundle, image) -> None:
        with load(bundle) as model, pytest.raises(UsageError, match="an image"):
            model.predict(image)

    def test_without_preprocessing_there_is_only_infer(self, tmp_path) -> None:
        with load(write_bundle(tmp_path / "bare", preprocessing=None)) as model:
            with pytest.raises(UsageError, match="no preprocessing"):
                model.predict(np.zeros((4, 4, 3), np.uint8))
            assert model.infer(images()[:1])["logits"].shape == (1, CLASSES, SIZE, SIZE)


class TestTrust:
    @pytest.mark.parametrize("name", ["model.onnx", "config.pbtxt", "outputs.safetensors"])
    def test_a_changed_file_is_refused_whatever_it_is(self, tmp_path, name) -> None:
        made = write_bundle(tmp_path / "small")
        flip(next(made.rglob(name)))
        with pytest.raises(IntegrityError, match=name):
            load(made)

    def test_so_is_one_more(self, tmp_path) -> None:
        made = write_bundle(tmp_path / "small")
        (made / "golden" / "more").write_bytes(b"")
        with pytest.raises(IntegrityError, match="more"):
            load(made)

    def test_nothing_of_a_changed_bundle_is_deserialised(self, tmp_path) -> None:
        made = write_bundle(tmp_path / "small")
        flip(made / "golden" / "inputs.safetensors")
        code = """
import sys
from visiondeploy.errors import IntegrityError
from visiondeploy.runtime import load
try:
    load(sys.argv[1])
except IntegrityError:
    print([name for name in ("onnxruntime", "openvino", "safetensors") if name in sys.modules])
"""
        assert run("-c", code, str(made)) == "[]"

    def test_with_a_key_it_has_to_be_signed(self, tmp_path) -> None:
        signing = pytest.importorskip("visiondeploy.pipeline.bundle.signing")
        pytest.importorskip("model_signing")
        from kit.bundles import keys

        made, ours, theirs = write_bundle(tmp_path / "small"), keys(tmp_path), keys(tmp_path, "other")
        with pytest.raises(IntegrityError, match="no signature"):
            load(made, key=ours.public)
        signing.sign(made, ours.private)
        with load(made, key=ours.public) as model:
            assert model.manifest.name == "small"
        with pytest.raises(IntegrityError):
            load(made, key=theirs.public)

    def test_an_engine_that_is_not_as_promised_is_refused(self, tmp_path) -> None:
        promised = Tensor(name="image", dtype="float32", shape=(-1, 3, SIZE, SIZE + 1))
        with pytest.raises(InputError, match="its contract promises"):
            load(write_bundle(tmp_path / "small", inputs=(promised,)))

    def test_an_engine_that_it_cannot_run_is_named(self, tmp_path) -> None:
        made = write_bundle(tmp_path / "small")
        manifest = Manifest.from_json((made / MANIFEST).read_bytes())
        other = manifest.model_copy(update={"engine": manifest.engine.model_copy(update={"backend": "tensorrt"})})
        (made / MANIFEST).write_text(other.to_json(), encoding="utf-8")
        with pytest.raises(BackendUnavailable, match="tensorrt"):
            load(made)

    def test_what_is_no_bundle_is_said(self, tmp_path) -> None:
        with pytest.raises(InputError, match="bundle"):
            load(tmp_path)

    def test_no_threads_are_too_few(self, tmp_path) -> None:
        with pytest.raises(UsageError, match="at least 1"):
            load(tmp_path, threads=0)


class TestImport:
    def test_it_imports_no_runtime_and_loading_imports_the_bundles_alone(self, bundle) -> None:
        code = """
import sys
import visiondeploy.runtime
heavy = ("torch", "torchvision", "onnx", "onnxruntime", "openvino", "scipy", "skimage", "matplotlib", "rich")
first = [name for name in heavy if name in sys.modules]
import numpy as np
with visiondeploy.runtime.load(sys.argv[1]) as model:
    model.predict(np.zeros((8, 8, 3), np.uint8))
    backend = model.manifest.engine.backend
then = {name for name in heavy if name in sys.modules}
print(first, then - {backend, "scipy", "onnx"}, "torch" in then)
"""
        assert run("-c", code, str(bundle)) == "[] set() False"

    def test_it_costs_little_beside_onnx_runtimes_own(self) -> None:
        ours, theirs = (min(cost(name) for _ in range(3)) for name in ("visiondeploy.runtime", "onnxruntime"))
        assert ours < 4 * theirs


def run(*words: str) -> str:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout.strip()


def cost(module: str) -> float:
    """Seconds of processor time that a Python takes to import a module, whatever else runs on the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime
