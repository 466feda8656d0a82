"""A bundle, loaded: what `visiondeploy.runtime` gives to programs that embed one. Imports no torch.

Nothing of a bundle is deserialised before every one of its digests was checked; its own runtime is imported then, and
no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from visiondeploy.errors import BackendUnavailable, InputError, UsageError
from visiondeploy.pipeline.backends.feeds import Inputs
from visiondeploy.pipeline.bundle.checked import checked
from visiondeploy.pipeline.bundle.manifest import Contract, Manifest, Tensor
from visiondeploy.types import Array, Image, Session, TensorSpec

if TYPE_CHECKING:
    from visiondeploy.pipeline.imaging import Imaging


def _onnxruntime(folder: Path, threads: int) -> Session:
    from visiondeploy.pipeline.backends import onnxruntime_session

    return onnxruntime_session.opened(folder, threads)


def _openvino(folder: Path, threads: int) -> Session:
    from visiondeploy.pipeline.backends import openvino_session

    return openvino_session.opened(folder, threads)


LOADERS: dict[str, Callable[[Path, int], Session]] = {"onnxruntime": _onnxruntime, "openvino": _openvino}
"""What loads an engine, by its backend."""


def load(bundle: str | Path, *, key: str | Path | None = None, threads: int | None = None) -> Model:
    """A bundle (a folder or `.tar.zst`) as a model, on `threads` threads [default: as many as it was measured with].

    With `key`, a public key, it has to be signed with its counterpart. Close the model, or use it in a `with`.

    Raises `IntegrityError` where a digest or the signature does not match, `InputError` where it is no bundle or does
    not hold its contract, `BackendUnavailable` where its runtime is not here, and `UsageError` for less than a thread.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"a model runs on {threads} threads, expected at least 1: leave `threads` away.")
    with ExitStack() as stack:
        folder, manifest = stack.enter_context(checked(Path(bundle), None if key is None else Path(key)))
        session = stack.enter_context(_session(folder, manifest, threads or manifest.engine.threads))
        _hold(manifest, session)
        return Model(manifest, session, stack.pop_all())


class Model:
    """A loaded bundle: `infer` runs the engine, `predict` takes an image. Threads may share it."""

    def __init__(self, manifest: Manifest, session: Session, held: ExitStack) -> None:
        self.manifest = manifest
        self.contract: Contract = manifest.contract
        self._session, self._held = session, held
        self._inputs = Inputs([_spec(tensor) for tensor in self.contract.inputs])
        self._imaging: Imaging | None = None

    def infer(self, feeds: Array | Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, for arrays by the name of their input, or the array of the only input.

        Arrays have the dtypes and shapes of `contract.inputs`, where −1 is any size; the results are the caller's.
        Raises `UsageError` for others, and for one array where there are several inputs.
        """
        if not isinstance(feeds, Mapping):
            if len(self.contract.inputs) != 1:
                names = ", ".join(tensor.name for tensor in self.contract.inputs)
                raise UsageError(f"{self.manifest.name} has the inputs {names}: feed a mapping from names to arrays.")
            feeds = {self.contract.inputs[0].name: feeds}
        return self._session.infer(self._inputs.accept(feeds))

    def predict(self, image: Image, *, style: int = 0) -> Image:
        """What the network makes of an H×W×3 uint8 RGB image of any size, preprocessed as the contract says.

        Of a network with classes: the class of each pixel of the image, H×W uint8. Of one that paints: the middle of
        the image in the network's shape, painted, height×width×3 uint8 RGB; `style` is its number in
        `contract.styles`. Raises `UsageError` for what is no such image or style, or where the contract has no
        preprocessing.
        """
        if self._imaging is None:
            from visiondeploy.pipeline.imaging import imaging_of

            self._imaging = imaging_of(self.contract)
        return self._imaging.run(self.infer, image, style)

    def close(self) -> None:
        """Free the runtime's memory; the model cannot be used any more. A second time there is nothing to do."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _session(folder: Path, manifest: Manifest, threads: int) -> Session:
    """The engine's session. Raises `BackendUnavailable`."""
    backend = manifest.engine.backend
    if backend not in LOADERS:
        raise BackendUnavailable(
            f"{manifest.name} has an engine of {backend}, and this import runs {' and '.join(LOADERS)}: serve it with "
            "its own runtime, or bundle another engine of the build."
        )
    try:
        return LOADERS[backend](folder / manifest.engine.folder, threads)
    except ImportError as error:
        versions = manifest.target.runtimes.get(backend)
        wanted = f"{backend}=={versions}" if versions else backend
        raise BackendUnavailable(f"{manifest.name} runs on {backend} ({error}): pip install {wanted}.") from None


def _hold(manifest: Manifest, session: Session) -> None:
    """Raise `InputError` where the engine's inputs or outputs are not those of the contract."""
    for kind, promised, found in (
        ("inputs", manifest.contract.inputs, session.inputs),
        ("outputs", manifest.contract.outputs, session.outputs),
    ):
        there = {spec.name: spec for spec in found}
        if {tensor.name for tensor in promised} != set(there) or not all(
            _fits(tensor, there[tensor.name]) for tensor in promised
        ):
            raise InputError(
                f"the engine of {manifest.name} has the {kind} {_said(found)}, its contract promises "
                f"{_said([_spec(tensor) for tensor in promised])}: bundle it again."
            )


def _spec(tensor: Tensor) -> TensorSpec:
    shape = tuple(f"axis{axis}" if size < 0 else size for axis, size in enumerate(tensor.shape))
    return TensorSpec(tensor.name, tensor.dtype, shape)


def _fits(promised: Tensor, found: TensorSpec) -> bool:
    """Whether every array that fits the one may fit the other: an engine may leave free what the contract fixes."""
    return (
        np.dtype(promised.dtype) == np.dtype(found.dtype)
        and len(promised.shape) == len(found.shape)
        and all(isinstance(size, str) or size == want for want, size in zip(promised.shape, found.shape, strict=True))
    )


def _said(specs: tuple[TensorSpec, ...] | list[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype} {'×'.join(map(str, spec.shape))}" for spec in specs)
