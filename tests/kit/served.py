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
from safetensors.numpy import save_file

from kit.graphs import CLASSES, unet
from visiondeploy.pipeline.backends import onnxruntime_session, openvino_session
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
from visiondeploy.types import Outcome, Precision

NAME = "small"
SIZE = 32
THREADS = 2
BATCH = 4
GOLDEN = 6
"""Images of the golden data."""

FILES = {"onnxruntime": onnxruntime_session.MODEL, "openvino": openvino_session.MODEL}
PARAMETERS = {"onnxruntime": "intra_op_thread_count", "openvino": "INFERENCE_NUM_THREADS"}
OPENED = {"onnxruntime": onnxruntime_session.opened, "openvino": openvino_session.opened}

CONFIG = """name: "{name}"
backend: "{backend}"
default_model_filename: "{file}"
max_batch_size: {batch}
input [ {{ name: "image" data_type: TYPE_FP32 dims: [ 3, {size}, {size} ] }} ]
output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {classes}, {size}, {size} ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ max_queue_delay_microseconds: 20000 }}
version_policy {{ latest {{ num_versions: 1 }} }}
parameters {{ key: "{parameter}" value {{ string_value: "{threads}" }} }}
model_warmup [ {{
  name: "one"
  batch_size: 1
  inputs {{ key: "image" value {{ data_type: TYPE_FP32 dims: [ 3, {size}, {size} ] zero_data: true }} }}
}} ]
"""


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
    model = folder / "triton" / NAME
    engine = model / str(version)
    engine.mkdir(parents=True)
    write_engine(engine, backend, version)
    (model / "config.pbtxt").write_text(
        CONFIG.format(
            name=NAME,
            backend=backend,
            file=FILES[backend],
            batch=BATCH,
            size=SIZE,
            classes=CLASSES,
            parameter=PARAMETERS[backend],
            threads=THREADS,
        ),
        encoding="utf-8",
    )
    (folder / "golden").mkdir()
    save_file({"image": images()}, folder / "golden" / "inputs.safetensors")
    save_file({"logits": answers(engine, backend, images())}, folder / "golden" / "outputs.safetensors")
    roles = {"triton": Role.TRITON, "golden": Role.GOLDEN}
    files = [path for path in folder.rglob("*") if path.is_file()]
    entries = [_entry(folder, path, Role.ENGINE if engine in path.parents else None, roles) for path in files]
    (folder / MANIFEST).write_text(
        manifest(backend, version, tuple(sorted(entries, key=lambda entry: entry.path)), changed).to_json(), "utf-8"
    )
    return folder


def answers(engine: Path, backend: str, feeds: np.ndarray) -> np.ndarray:
    """What an engine gives for each image, one at a time."""
    with OPENED[backend](engine, THREADS) as session:
        return np.concatenate([session.infer({"image": image[None]})["logits"] for image in feeds])


def _entry(folder: Path, path: Path, role: Role | None, roles: dict[str, Role]) -> FileEntry:
    data, name = path.read_bytes(), path.relative_to(folder).as_posix()
    found = role or roles[name.split("/")[0]]
    return FileEntry(path=name, role=found, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def manifest(backend: str, version: int, files: tuple[FileEntry, ...], changed: dict[str, Any]) -> Manifest:
    """The manifest of a hand-made bundle."""
    contract = Contract(
        task="segmentation",
        inputs=(Tensor(name="image", dtype="float32", shape=(-1, 3, SIZE, SIZE), layout="NCHW"),),
        outputs=(Tensor(name="logits", dtype="float32", shape=(-1, CLASSES, SIZE, SIZE), layout="NCHW"),),
        preprocessing=Preprocessing(
            height=SIZE,
            width=SIZE,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            resize="bilinear, antialiased",
            done=False,
        ),
        classes=tuple(f"class {number}" for number in range(CLASSES)),
        palette=tuple((10 * number, 0, 0) for number in range(CLASSES)),
        ignore_index=255,
    )
    return Manifest(
        name=NAME,
        version=version,
        visiondeploy="0.1.0",
        engine=Engine(
            backend=backend,
            precision=Precision.FP32,
            folder=f"triton/{NAME}/{version}",
            realised={"fp32": 8},
            threads=THREADS,
        ),
        contract=contract.model_copy(update=changed),
        tolerances=Tolerances(sqnr_db=40.0),
        target=Target(kind="cpu", machine="x86_64", runtimes={backend: metadata.version(backend)}),
        verdict=BundleVerdict(status=Outcome.PASS),
        network="0" * 64,
        files=files,
    )


def resign(folder: Path) -> None:
    """Bring the digests of a changed bundle's manifest up to date, as one who attacks it would."""
    known = Manifest.from_json((folder / MANIFEST).read_bytes())
    entries = [
        entry.model_copy(
            update={
                "sha256": hashlib.sha256((folder / entry.path).read_bytes()).hexdigest(),
                "size": (folder / entry.path).stat().st_size,
            }
        )
        for entry in known.files
    ]
    (folder / MANIFEST).write_text(known.model_copy(update={"files": tuple(entries)}).to_json(), "utf-8")


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
