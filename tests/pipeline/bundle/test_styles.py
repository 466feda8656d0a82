"""Bundles of networks that paint: ours, which are told a style, and files of somebody else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from kit.builds import contents
from kit.bundling import bundled
from kit.features import known
from kit.foreign import FAST, painter, save
from kit.pictures import painting
from PIL import Image as Pillow

from visiondeploy.pipeline.build import build
from visiondeploy.pipeline.bundle import golden
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.recipe import resolve
from visiondeploy.pipeline.store import Store

TOY = Path(__file__).resolve().parents[1] / "data" / "toy-style.toml"


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A network of two styles in fp32, built; the small feature network is known meanwhile."""
    root = tmp_path_factory.mktemp("several")
    Pillow.fromarray(painting()).save(root / "waves.png")
    Pillow.fromarray(np.ascontiguousarray(painting()[..., ::-1])).save(root / "stars.png")
    images = {"style.images": [str(root / "waves.png"), str(root / "stars.png")]}
    with known(root / "features"), contextlib.chdir(root):
        recipe = resolve(None, TOY, ("style.features=tiny", "model.name=style-multi"), images)
        yield root / build(recipe, Store(root / "cache"), None, Silent()).folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A painter of any size with three styles, told by a vector without a batch; built in fp32."""
    root = tmp_path_factory.mktemp("foreign")
    file = save(painter(styles=3), root / "floats.onnx")
    with contextlib.chdir(root):
        recipe = resolve(str(file), None, FAST, {"task": "style"})
        return root / build(recipe, Store(root / "cache"), None, Silent()).folder


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_of_several_styles(several, tmp_path, backend) -> None:
    target = bundled(several, tmp_path / "out", backend=backend, force=True).path
    manifest = Manifest.from_json((target / MANIFEST).read_bytes())
    assert manifest.contract.styles == ("waves", "stars")
    assert [tensor.name for tensor in manifest.contract.inputs] == ["image", "weights"]
    assert manifest.contract.preprocessing.resize.startswith("the middle of the image")
    assert manifest.tolerances.sqnr_db == 30
    assert all(set(feeds) == {"image", "weights"} for feeds, _ in golden.read(target))
    provenance = (target / "provenance.json").read_text()
    assert '"name": "painting waves"' in provenance
    assert str(several.parent).encode() not in b"".join(contents(target).values())
    assert "Styles, from 0: waves, stars." in (target / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_file_of_somebody_else(foreign, tmp_path, backend) -> None:
    target = bundled(foreign, tmp_path / "out", backend=backend, force=True).path
    manifest = Manifest.from_json((target / MANIFEST).read_bytes())
    photo, weights = manifest.contract.inputs
    assert (photo.name, photo.shape, photo.layout) == ("photo", (-1, 3, -1, -1), "NCHW")
    assert (weights.name, weights.shape) == ("style_weights", (3,))
    config = (target / "triton" / manifest.name / "config.pbtxt").read_text()
    assert "\nmax_batch_size: 0\n" in config
    assert manifest.tolerances.exact_in_batches is None
    assert "an ONNX file of somebody else (floats.onnx), taken as it was" in (target / "MODEL_CARD.md").read_text()
    assert '"name": "file floats.onnx"' in (target / "provenance.json").read_text()
