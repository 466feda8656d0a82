"""Small bundles made by hand, of a network that is built in milliseconds: what serving and the runtime are tried on."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from kit.files import contents
from kit.graphs import CLASSES, unet
from visiondeploy.pipeline.backends import onnxruntime_session, openvino_session
from visiondeploy.pipeline.bundle import golden, mlserver, triton
from visiondeploy.pipeline.bundle.manifest import (
    MANIFEST,
    BundleVerdict,
    Contract,
    Engine,
    FileEntry,
    Manifest,
    Preprocessing,
    Role,
    Target,
    Tensor,
    Tolerances,
)
from visiondeploy.pipeline.bundle.place import seal
from visiondeploy.types import Outcome, Precision

NAME = "small"
SIZE = 32
THREADS = 2
GOLDEN = 6
"""Images of the golden data."""

CONTRACT = Contract(
    task="segmentation",
    inputs=(Tensor(name="image", dtype="float32", shape=(-1, 3, SIZE, SIZE), layout="NCHW"),),
    outputs=(Tensor(name="logits", dtype="float32", shape=(-1, CLASSES, SIZE, SIZE), layout="NCHW"),),
    preprocessing=Preprocessing(
        height=SIZE,
        width=SIZE,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        resize="the whole image, bilinear, antialiased",
        done=False,
    ),
    classes=tuple(f"class {number}" for number in range(CLASSES)),
    palette=tuple((10 * number, 0, 0) for number in range(CLASSES)),
    ignore_index=255,
)

FILES = {"onnxruntime": onnxruntime_session.MODEL, "openvino": openvino_session.MODEL}
OPENED = {"onnxruntime": onnxruntime_session.opened, "openvino": openvino_session.opened}


def network(version: int) -> onnx.ModelProto:
    """A small UNet; each version has other weights."""
    model = unet(width=8, depth=1)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array((values * (1 + 0.1 * version)).astype(np.float32), tensor.name))
    return model


def write_engine(folder: Path, backend: str, version: int) -> None:
    """The engine of a backend, into an empty folder."""
    model = network(version)
    if backend == "onnxruntime":
        onnx.save(model, folder / FILES[backend])
        return
    import openvino as ov

    read = ov.Core().read_model(model.SerializeToString())
    ov.save_model(read, folder / FILES[backend], compress_to_fp16=False)
    described = {"inputs": ["image"], "outputs": ["logits"], "stored": {}}
    (folder / openvino_session.DESCRIPTION).write_text(json.dumps(described), encoding="utf-8")


def images() -> np.ndarray:
    """The golden images N×3×H×W float32."""
    return np.random.default_rng(3).normal(0, 1, (GOLDEN, 3, SIZE, SIZE)).astype(np.float32)


def write_bundle(folder: Path, backend: str = "onnxruntime", version: int = 1, **changed: Any) -> Path:
    """A whole bundle, its digests right; `changed` are fields of the contract."""
    contract = CONTRACT.model_copy(update=changed)
    engine = Engine(
        backend=backend,
        precision=Precision.FP32,
        folder=f"triton/{NAME}/{version}",
        realised={"fp32": 8},
        threads=THREADS,
    )
    target = Target(kind="cpu", machine="x86_64", runtimes={backend: metadata.version(backend)})
    (folder / engine.folder).mkdir(parents=True)
    write_engine(folder / engine.folder, backend, version)
    _put(folder / "triton" / NAME / triton.CONFIG, triton.config_of(NAME, contract, engine, target, folder))
    _put(folder / mlserver.FOLDER / mlserver.SETTINGS, mlserver.settings_of(NAME, version, contract))
    (folder / golden.FOLDER).mkdir()
    golden.write(runs(folder / engine.folder, backend), folder)
    manifest = Manifest(
        name=NAME,
        version=version,
        visiondeploy="0.1.0",
        engine=engine,
        contract=contract,
        tolerances=Tolerances(sqnr_db=40.0),
        target=target,
        verdict=BundleVerdict(status=Outcome.PASS),
        network="0" * 64,
        files=_entries(folder, engine.folder),
    )
    _put(folder / MANIFEST, manifest.to_json())
    seal(folder)
    return folder


def runs(engine: Path, backend: str) -> golden.Golden:
    """What an engine gives for each golden image, one at a time."""
    feeds = tuple({"image": image[None]} for image in images())
    with OPENED[backend](engine, THREADS) as session:
        return golden.Golden(feeds, tuple(session.infer(feed) for feed in feeds), exact=True)


def wanted(bundle: Path) -> np.ndarray:
    """The golden logits of a bundle, N×classes×H×W."""
    return np.concatenate([outputs["logits"] for _, outputs in golden.read(bundle)])


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _entries(folder: Path, engine: str) -> tuple[FileEntry, ...]:
    """The files as the manifest lists them."""
    found = []
    for name, data in sorted(contents(folder).items()):
        role = Role.ENGINE if name.startswith(f"{engine}/") else Role(name.split("/")[0])
        found.append(FileEntry(path=name, role=role, sha256=hashlib.sha256(data).hexdigest(), size=len(data)))
    return tuple(found)


def repository(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle's Triton repository, as a serving team has it."""
    shutil.copytree(bundle / "triton", folder)
    return folder


def put_version(repository: Path, bundle: Path, version: int) -> Path:
    """Lay another bundle's engine beside those of a repository, at once, as an upload has to."""
    (source,) = [path for path in (bundle / "triton" / NAME).iterdir() if path.is_dir()]
    waiting = repository.parent / f"waiting-{version}"
    shutil.copytree(source, waiting)
    return waiting.rename(repository / NAME / str(version))
