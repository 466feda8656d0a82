"""Whether the parts of a bundle say the same: manifest, ONNX files, engine, configurations, golden runs, report.

Every digest of what is read here was checked before; what is in the files is still anybody's. Nothing is loaded by a
runtime. Each lint gives the first thing that is off, in words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from visiondeploy import __version__
from visiondeploy.errors import InputError
from visiondeploy.pipeline.backends.onnx_given import parse_given, read_given
from visiondeploy.pipeline.bundle import contract, golden, mlserver, triton
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest, Role, Tensor
from visiondeploy.types import Array

KINDS: dict[Role, frozenset[str]] = {
    Role.ENGINE: frozenset({".onnx", ".xml", ".bin", ".json", ".plan"}),
    Role.SOURCE: frozenset({".onnx", ".json"}),
    Role.TRITON: frozenset({".pbtxt", ".txt"}),
    Role.MLSERVER: frozenset({".json"}),
    Role.GOLDEN: frozenset({".safetensors"}),
    Role.REPORT: frozenset({".json", ".html", ".png"}),
    Role.CARD: frozenset({".md", ".png"}),
    Role.SBOM: frozenset({".json"}),
    Role.PROVENANCE: frozenset({".json"}),
}
"""What files of a role may be, by their endings. None is a format that holds code: no pickles, no TorchScript."""

Lint = Callable[[Path, Manifest], Iterable[str]]
"""From the folder and the manifest to what is off, in words without a final full stop."""


def lint(folder: Path, manifest: Manifest) -> None:
    """Raise `InputError` for the first thing that is off."""
    try:
        for check in LINTS:
            for problem in check(folder, manifest):
                raise InputError(f"{problem}: bundle the build again with `deploy bundle`.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ParseError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"a file of the bundle is not what it should be ({reason}): bundle the build again.") from None


def _kinds(_: Path, manifest: Manifest) -> Iterator[str]:
    for entry in manifest.files:
        ending = PurePosixPath(entry.path).suffix
        if ending not in KINDS[entry.role]:
            known = ", ".join(sorted(KINDS[entry.role]))
            yield f"{entry.path} is there as {entry.role.value}, which holds {known} files"


def _graphs(folder: Path, manifest: Manifest) -> Iterator[str]:
    """ONNX files are whole, valid, and have their weights in them. Raises `InputError`, too."""
    for entry in manifest.files:
        if entry.path.endswith(".onnx"):
            parse_given(read_given(folder / entry.path), entry.path)
    return iter(())


def _names(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Inputs and outputs of the contract are those of the ONNX file, and of the engine as its server knows them."""
    sources = [*manifest.of(Role.SOURCE), *manifest.of(Role.ENGINE)]
    graph = next((entry.path for entry in sources if entry.path.endswith(".onnx")), None)
    if graph is None:
        yield "there is no ONNX file, neither as source nor as engine"
        return
    yield from contract.lint(manifest.contract, folder / graph)
    if platform := triton.PLATFORMS.get(manifest.engine.backend):
        yield from triton.lint(manifest.contract, platform, folder / manifest.engine.folder)


def _engine(_: Path, manifest: Manifest) -> Iterator[str]:
    for entry in manifest.of(Role.ENGINE):
        if str(PurePosixPath(entry.path).parent) != manifest.engine.folder:
            yield f"{entry.path} is an engine's file, and {MANIFEST} has the engine in {manifest.engine.folder}"


def _triton(folder: Path, manifest: Manifest) -> Iterator[str]:
    """`config.pbtxt` is the one that follows from the manifest; of another visiondeploy's nothing is known."""
    if manifest.engine.backend not in triton.PLATFORMS or manifest.visiondeploy != __version__:
        return
    path = f"{triton.FOLDER}/{manifest.name}/{triton.CONFIG}"
    engine = folder / manifest.engine.folder
    expected = triton.config_of(manifest.name, manifest.contract, manifest.engine, manifest.target, engine)
    yield from _text(folder, manifest, Role.TRITON, path, expected)


def _mlserver(folder: Path, manifest: Manifest) -> Iterator[str]:
    if manifest.visiondeploy == __version__:
        expected = mlserver.settings_of(manifest.name, manifest.version, manifest.contract)
        yield from _text(folder, manifest, Role.MLSERVER, f"{mlserver.FOLDER}/{mlserver.SETTINGS}", expected)


def _text(folder: Path, manifest: Manifest, role: Role, path: str, expected: str) -> Iterator[str]:
    if path not in {entry.path for entry in manifest.of(role)}:
        yield f"{path} is missing"
        return
    found = (folder / path).read_bytes().decode("utf-8", "replace").splitlines()
    for number, (is_, should) in enumerate(_aligned(found, expected.splitlines()), 1):
        if is_ != should:
            yield f"line {number} of {path} is {is_[:80]!r}, and follows from {MANIFEST} as {should[:80]!r}"


def _aligned(found: Sequence[str], expected: Sequence[str]) -> Iterator[tuple[str, str]]:
    longest = max(len(found), len(expected))
    for number in range(longest):
        yield (found[number] if number < len(found) else ""), (expected[number] if number < len(expected) else "")


def _golden(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Names, types, shapes and class numbers of the golden runs are those of the contract."""
    for number, (feeds, outputs) in enumerate(golden.read(folder)):
        yield from _run("golden input", number, manifest.contract.inputs, feeds)
        yield from _run("golden output", number, manifest.contract.outputs, outputs)
        yield from _classes_in(number, outputs, manifest)


def _run(kind: str, number: int, said: Sequence[Tensor], found: Mapping[str, Array]) -> Iterator[str]:
    if names := found.keys() ^ {tensor.name for tensor in said}:
        yield f"run {number} has, or lacks, a {kind} '{min(names)}' otherwise than the contract"
        return
    for tensor in said:
        array = found[tensor.name]
        if str(array.dtype) != tensor.dtype or not _fits(array.shape, tensor.shape):
            yield (
                f"the {kind} '{tensor.name}' of run {number} is {array.dtype} {list(array.shape)}, the contract says "
                f"{tensor.dtype} {list(tensor.shape)}"
            )


def _fits(shape: Sequence[int], said: Sequence[int]) -> bool:
    sizes = zip(shape, said, strict=False)
    return len(shape) == len(said) and all(wanted in (contract.FREE, size) for size, wanted in sizes)


def _classes_in(number: int, outputs: Mapping[str, Array], manifest: Manifest) -> Iterator[str]:
    known = manifest.contract
    for name, array in outputs.items():
        if known.classes and np.issubdtype(array.dtype, np.integer) and array.size:
            wrong = array[(array >= len(known.classes)) | (array < 0)]
            if wrong.size:
                yield f"run {number} has class {wrong.flat[0]} in '{name}', and there are {len(known.classes)} classes"


def _classes(_: Path, manifest: Manifest) -> Iterator[str]:
    """Names and colours of classes, and the axis of logits that has one entry for each."""
    known = manifest.contract
    if any(not 0 <= part <= 255 for colour in known.palette for part in colour):
        yield "a colour of the palette is not three numbers from 0 to 255"
    if len(set(known.classes)) < len(known.classes):
        yield "two classes have one name"
    if known.ignore_index is not None and 0 <= known.ignore_index < len(known.classes):
        yield f"ignore_index {known.ignore_index} is the class '{known.classes[known.ignore_index]}'"
    for tensor in known.outputs:
        if known.classes and tensor.layout and "C" in tensor.layout and tensor.dtype.startswith("float"):
            channels = tensor.shape[tensor.layout.index("C")] if len(tensor.layout) == len(tensor.shape) else None
            if channels not in (len(known.classes), contract.FREE):
                yield f"'{tensor.name}' has {channels} channels for {len(known.classes)} classes"


def _verdict(folder: Path, manifest: Manifest) -> Iterator[str]:
    """The report's verdict is the manifest's."""
    path = "report/report.json"
    if path not in {entry.path for entry in manifest.of(Role.REPORT)}:
        return
    found: Any = json.loads((folder / path).read_bytes())
    status = found["verdict"]["status"]
    if status != manifest.verdict.status:
        yield f"{path} has the verdict {str(status)[:40]}, {MANIFEST} says {manifest.verdict.status}"


LINTS: tuple[Lint, ...] = (_kinds, _engine, _graphs, _names, _classes, _triton, _mlserver, _golden, _verdict)
"""In this order, the quick ones first."""
