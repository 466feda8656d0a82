"""The description that lies beside a TensorRT engine, for engines that nobody can build here."""

from __future__ import annotations

from pathlib import Path

from visiondeploy.pipeline.backends.tensorrt.sidecar import (
    SIDECAR,
    DeviceRecord,
    FileDigest,
    Port,
    ProfileRecord,
    Sidecar,
)


def write_sidecar(folder: Path, batch: tuple[int, int, int], flavour: str = "tensorrt") -> Sidecar:
    """That of a network image N×3×32×48 → logits N×5×32×48, whose profile takes batches of these sizes."""
    low, usual, high = ((size, 3, 32, 48) for size in batch)
    made = Sidecar(
        flavour=flavour,
        release="10.16.1",
        targets=(),
        device=DeviceRecord(name="Testor RTX", target="sm_86", driver=13000),
        settings={},
        profiles=({"image": ProfileRecord(min=low, opt=usual, max=high)},),
        inputs=(Port(name="image", dtype="float32", shape=("axis0", 3, 32, 48)),),
        outputs=(Port(name="logits", dtype="float32", shape=("axis0", 5, 32, 48)),),
        layers=(),
        engine_layers=(),
        stored={},
        plan=FileDigest(sha256=64 * "0", size=1),
        onnx={},
    )
    (folder / SIDECAR).write_text(made.to_json())
    return made
