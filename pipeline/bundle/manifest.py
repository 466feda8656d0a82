"""`manifest.json`: what a bundle is, file by file, and what whoever serves it may rely on.

A bundle is a folder (or that folder as `.tar.zst`):

manifest.json               this; the only file that it does not list, but for the signature
signature.json              of manifest.json and of every file, where it was signed
triton/NAME/config.pbtxt    a Triton model repository; the engine lies in it, once: triton/NAME/VERSION/…
engine/                     the engine where Triton has no backend for it, instead of triton/
mlserver/                   model-settings.json for MLServer, which reads the same engine
model/model.onnx            the ONNX file that the engine was made from, unless that is the engine
golden/                     inputs.safetensors and outputs.safetensors: real images, and what the engine gives for them;
                            tensor "0.image" is the input "image" of the first call
report/                     report.json and report.html
MODEL_CARD.md, sbom.cdx.json, provenance.json

The same build gives the same bytes: there are no times, host names or paths in it. Every name in `files` is relative,
with "/", and nothing else lies in the folder, not even an empty folder.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visiondeploy.benchmarks.report.parts import first_problem, parse
from visiondeploy.errors import InputError, IntegrityError
from visiondeploy.types import Outcome, Precision

# History
#   1  2026-12  first version
SCHEMA: Literal["visiondeploy.bundle/1"] = "visiondeploy.bundle/1"

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"

LARGEST_MANIFEST = 4 << 20
"""Bytes of a manifest that is read."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Size = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """Unknown fields are refused: what a verifier does not know it cannot have checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Role(StrEnum):
    """What a file is for."""

    ENGINE = "engine"
    SOURCE = "source"
    TRITON = "triton"
    MLSERVER = "mlserver"
    GOLDEN = "golden"
    REPORT = "report"
    CARD = "card"
    SBOM = "sbom"
    PROVENANCE = "provenance"


class FileEntry(_Part):
    """One file: its relative path, what it is for, its bytes, and its mode, which is 0644 for all."""

    path: Annotated[str, Field(min_length=1, max_length=400)]
    role: Role
    sha256: Sha256
    size: Size

    @model_validator(mode="after")
    def _path_is_plain(self) -> Self:
        if not is_plain(self.path):
            raise ValueError(f"a path is relative, in printable ASCII, without . and .., found {self.path!r}")
        return self


_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+-]*(/[A-Za-z0-9_.][A-Za-z0-9_.+-]*)*")


def is_plain(path: str) -> bool:
    """Whether a path is one that a bundle may hold: relative, portable letters, no `.` or `..`, not hidden."""
    return _PLAIN.fullmatch(path) is not None and not any(part.startswith(".") for part in path.split("/"))


class Tensor(_Part):
    """An input or output as a client sees it.

    `shape` has a number for each axis, -1 where the client is free (the batch). `layout` names the axes ("NHWC"), None
    where they have no names. `low` and `high` are the smallest and the largest value that means something.
    """

    name: Text
    dtype: Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
    shape: tuple[Annotated[int, Field(ge=-1)], ...]
    layout: Text | None = None
    low: float | None = None
    high: float | None = None
    meaning: str = ""


class Preprocessing(_Part):
    """How an H×W×3 uint8 RGB image becomes the input: resized, then (pixel / 255 − mean) / std; `done` in the graph.

    `resize` says with what: "bilinear, antialiased" as Pillow and torchvision have it.
    """

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    colours: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Text
    done: bool
    """Whether the graph normalises: raw pixels go in."""


class Contract(_Part):
    """What goes in and comes out. Networks with classes have their names, colours, and the value of no class."""

    task: Name
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_index: int | None = None
    styles: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.palette) not in {0, len(self.classes)}:
            raise ValueError(f"the palette has {len(self.palette)} colours for {len(self.classes)} classes")
        names = [tensor.name for tensor in (*self.inputs, *self.outputs)]
        if len(set(names)) < len(names):
            raise ValueError("names of inputs and outputs are unique")
        return self


class Tolerances(_Part):
    """How near golden outputs have to come on another machine of the target. None is not asked for.

    On the very machine and runtime that made them they are equal, bit for bit, unless `exact` says otherwise.
    """

    sqnr_db: float | None = None
    max_abs: float | None = None
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of pixels of a class map that are the same."""
    exact: bool = True
    """Whether the runtime gave the same bits when it was asked again; False also of outputs made by the source."""
    exact_in_batches: bool | None = None
    """Whether an image gave the same bits among others in one batch; None where a server puts none together."""
    made_by: Literal["engine", "source"] = "engine"
    """What gave the golden outputs. The ONNX file that the engine was made from, where that cannot run here."""


class Target(_Part):
    """What the engine runs on. `isa` are instruction sets that it was built for, or measured with, and needs for speed.

    `cpu` is the processor that gave the golden outputs: another of the same instruction sets may sum in another order.

    `runtimes` are distributions with the versions that made and measured it; an engine that is bound to one
    (`bound`) loads in no other. GPUs are named by compute capability ("sm_86").
    """

    kind: Literal["cpu", "gpu"]
    machine: Text
    cpu: Text | None = None
    isa: tuple[Text, ...] = ()
    gpus: tuple[Text, ...] = ()
    runtimes: Annotated[dict[str, str], Field(min_length=1)]
    bound: bool = False


class Engine(_Part):
    """What is loaded: the backend, the precision that was asked for and the types of layers that came out."""

    backend: Name
    precision: Precision
    folder: Text
    realised: dict[str, int]
    threads: Annotated[int, Field(ge=1)]
    """That it was measured with."""


class BundleVerdict(_Part):
    """The verdict of the report. One that is not PASS is here because someone asked for it: `forced`."""

    status: Outcome
    forced: bool = False
    first: str = ""
    """The first check that is not PASS, in words."""

    @model_validator(mode="after")
    def _forced_unless_passed(self) -> Self:
        if (self.status is Outcome.PASS) == self.forced:
            raise ValueError(f"a bundle of verdict {self.status} is{' not' if self.forced else ''} forced")
        return self


class Manifest(_Part):
    """All of it. `version` is the model's in the Triton repository."""

    schema_name: Literal["visiondeploy.bundle/1"] = Field(default=SCHEMA, alias="schema")
    name: Name
    version: Annotated[int, Field(ge=1)] = 1
    visiondeploy: Text
    engine: Engine
    contract: Contract
    tolerances: Tolerances
    target: Target
    verdict: BundleVerdict
    network: Sha256
    """The digest of the network that it was made from."""
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    @model_validator(mode="after")
    def _files_are_a_tree(self) -> Self:
        paths = [entry.path for entry in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("files are sorted by path, each once")
        folded = {path.casefold() for path in paths}
        if len(folded) < len(paths):
            raise ValueError("two paths differ in the case of letters alone, which some file systems take for one")
        for path in paths:
            if path.casefold() in {MANIFEST, SIGNATURE}:
                raise ValueError(f"{path} lists itself")
            above = path.split("/")[:-1]
            if any("/".join(above[: depth + 1]).casefold() in folded for depth in range(len(above))):
                raise ValueError(f"{path} lies below a path that is a file")
        if not any(entry.role is Role.ENGINE for entry in self.files):
            raise ValueError("there is no engine among the files")
        return self

    def of(self, role: Role) -> tuple[FileEntry, ...]:
        """The files of a role."""
        return tuple(entry for entry in self.files if entry.role is role)

    def to_json(self) -> str:
        """The one spelling of it: sorted keys, two spaces, a final newline."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, data: bytes, source: str = MANIFEST) -> Self:
        """Read a manifest. Raises `InputError` where it is none, `IntegrityError` where it is not spelt as we spell it.

        Two spellings of one content would have two digests; and of a key that is there twice readers take either.
        """
        try:
            content: Any = parse(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source} is not JSON ({error}), expected the manifest of a bundle.") from None
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise InputError(f"{source} has schema {str(found)[:80]!r}, this visiondeploy reads {SCHEMA!r}.")
        try:
            made = cls.model_validate(content)
        except RecursionError:
            raise InputError(f"{source} is a manifest that is nested too deep.") from None
        except ValidationError as error:
            raise InputError(f"{source} is a manifest that breaks its contract: {first_problem(error)}.") from None
        if made.to_json().encode() != data:
            raise IntegrityError(f"{source} is not spelt as `deploy bundle` writes it: it was edited; bundle it again.")
        return made
