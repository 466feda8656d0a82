"""A small bundle, written file by file, and what the tests of bundles do to it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE, FileEntry, Manifest, Role

FILES: dict[str, tuple[Role, bytes]] = {
    "MODEL_CARD.md": (Role.CARD, b"# toy\n"),
    "engine/model.onnx": (Role.ENGINE, bytes(range(256)) * 40),
    "golden/inputs.safetensors": (Role.GOLDEN, b"\x02\0\0\0\0\0\0\0{}"),
    "report/report.json": (Role.REPORT, b""),
}
"""Files that nobody parses before their digests: one of several blocks, one of less than one, an empty one."""


def manifest_of(files: Mapping[str, tuple[Role, bytes]]) -> Manifest:
    """A manifest that lists these files."""
    entries = [
        FileEntry(path=path, role=role, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        for path, (role, data) in sorted(files.items())
    ]
    port = {"dtype": "float32", "shape": (-1, 3, 8, 8)}
    return Manifest.model_validate(
        {
            "schema": "visiondeploy.bundle/1",
            "name": "toy",
            "visiondeploy": "0.1.0",
            "engine": {"backend": "onnxruntime", "precision": "fp32", "folder": "engine", "realised": {}, "threads": 1},
            "contract": {"task": "style", "inputs": [{"name": "image", **port}], "outputs": [{"name": "out", **port}]},
            "tolerances": {},
            "target": {"kind": "cpu", "machine": "x86_64", "runtimes": {"onnxruntime": "1.0"}},
            "verdict": {"status": "PASS"},
            "network": 64 * "0",
            "files": tuple(entries),
        }
    )


def write_bundle(folder: Path, files: Mapping[str, tuple[Role, bytes]] = FILES) -> Path:
    """Write files and their manifest with the modes that a bundle has."""
    for path, (_, data) in files.items():
        put(folder / path, data)
    put(folder / MANIFEST, manifest_of(files).to_json().encode())
    return folder


def put(path: Path, data: bytes) -> None:
    """Write a file with the modes that a bundle has, whatever the umask is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)
    path.parent.chmod(0o755)


@dataclass(frozen=True)
class Keys:
    """Two halves of a key."""

    private: Path
    public: Path


def keys(folder: Path, name: str = "key", curve: str = "prime256v1") -> Keys:
    """A new pair, made by openssl."""
    made = Keys(folder / f"{name}.pem", folder / f"{name}.pub.pem")
    openssl = shutil.which("openssl") or "openssl"
    for words in (["ecparam", "-name", curve, "-genkey", "-noout", "-out"], ["ec", "-pubout", "-in"]):
        more = [made.private] if "-out" in words else [made.private, "-out", made.public]
        subprocess.run([openssl, *words, *more], check=True, capture_output=True)
    return made


def unsigned(folder: Path) -> Path:
    """Remove the signature."""
    (folder / SIGNATURE).unlink(missing_ok=True)
    return folder
