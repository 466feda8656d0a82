"""The golden runs of a bundle, run again here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visiondeploy.benchmarks.agreement import AgreementMeter
from visiondeploy.errors import GateFailed, InputError
from visiondeploy.pipeline.backends.table import backend_of
from visiondeploy.pipeline.bundle import golden
from visiondeploy.pipeline.bundle.manifest import Contract, Manifest, Tensor
from visiondeploy.types import Agreement, Array, Session, TensorSpec


def run(folder: Path, manifest: Manifest, *, same: bool) -> str:
    """Load the engine, feed it the golden inputs, and say how near it comes to the golden outputs.

    `same` says that this machine and its runtime are as those that made them: then they have to be equal, bit for bit,
    unless the tolerances say that they are not. Raises `GateFailed` where they are not near enough, `InputError` where
    the engine has other inputs or outputs than the contract, and what loading raises.
    """
    runs = golden.read(folder)
    backend, contract = backend_of(manifest.engine.backend), manifest.contract
    meter, equal = AgreementMeter(), True
    with backend.load(folder / manifest.engine.folder, manifest.engine.threads) as session:
        _check_ports(session, contract)
        for feeds, expected in runs:
            found = session.infer(feeds)
            for name, value in expected.items():
                if found[name].shape != value.shape or found[name].dtype != value.dtype:
                    raise GateFailed(
                        f"output '{name}' is {found[name].dtype} {list(found[name].shape)}, golden {value.dtype} "
                        f"{list(value.shape)}: do not serve it; build it again."
                    )
            equal = equal and all(found[name].tobytes() == value.tobytes() for name, value in expected.items())
            _compare(meter, expected, found, contract)
    count = f"{len(runs)} image{'s' * (len(runs) > 1)}"
    if equal:
        return f"{count}, bit-equal"
    result = meter.result()
    if same and manifest.tolerances.exact:
        raise GateFailed(
            f"outputs are not bit-equal to the golden ones on the processor and runtime that made them ("
            f"{_said(result)}): do not serve it; build it again."
        )
    _check(result, manifest)
    return f"{count}, within tolerance: {_said(result)}"


def _check_ports(session: Session, contract: Contract) -> None:
    sides = (("input", contract.inputs, session.inputs), ("output", contract.outputs, session.outputs))
    for kind, said, found in sides:
        ports = {port.name: port for port in found}
        if names := ports.keys() ^ {tensor.name for tensor in said}:
            raise InputError(f"the engine has, or lacks, an {kind} '{min(names)}' otherwise than the contract.")
        for tensor in said:
            if not _agrees(tensor, ports[tensor.name]):
                port = ports[tensor.name]
                raise InputError(
                    f"{kind} '{tensor.name}' of the engine is {port.dtype} {list(port.shape)}, the contract says "
                    f"{tensor.dtype} {list(tensor.shape)}: bundle the build again."
                )


def _agrees(tensor: Tensor, port: TensorSpec) -> bool:
    """A size that is free on one side is not compared: engines are compiled for what they are fed."""
    sizes = zip(port.shape, tensor.shape, strict=False)
    return (
        port.dtype == tensor.dtype
        and len(port.shape) == len(tensor.shape)
        and all(not isinstance(size, int) or size < 0 or said < 0 or size == said for size, said in sizes)
    )


def _compare(
    meter: AgreementMeter, expected: Mapping[str, Array], found: Mapping[str, Array], contract: Contract
) -> None:
    """Numbers by their distance, class maps by the share of pixels; logits by both."""
    numbers = {name: value for name, value in expected.items() if not _is_map(value, contract)}
    labels = [_labels(outputs, contract) for outputs in (expected, {name: found[name] for name in expected})]
    meter.update(numbers, {name: found[name] for name in numbers}, *labels)


def _is_map(value: Array, contract: Contract) -> bool:
    return bool(contract.classes) and np.issubdtype(value.dtype, np.integer)


def _labels(outputs: Mapping[str, Array], contract: Contract) -> Array | None:
    """The class of every pixel of the class maps and logits, in one row; None where there are none."""
    layouts = {tensor.name: tensor.layout or "" for tensor in contract.outputs}
    found = []
    for name, value in sorted(outputs.items()):
        if _is_map(value, contract):
            found.append(value.ravel())
        elif contract.classes and "C" in layouts[name] and len(layouts[name]) == value.ndim:
            found.append(value.argmax(axis=layouts[name].index("C")).ravel())
    return np.concatenate(found) if found else None


@dataclass(frozen=True, slots=True)
class _Limit:
    """One tolerance, and what was found: None where outputs of this kind are not there."""

    name: str
    limit: float | None
    found: float | None
    at_least: bool
    unit: str = ""

    def holds(self) -> bool:
        if self.limit is None or self.found is None:
            return True
        return self.found >= self.limit if self.at_least else self.found <= self.limit


def _check(found: Agreement, manifest: Manifest) -> None:
    tolerances, numbers = manifest.tolerances, not math.isnan(found.max_abs)
    limits = (
        _Limit("SQNR", tolerances.sqnr_db, found.sqnr_db if numbers else None, at_least=True, unit=" dB"),
        _Limit("the largest error", tolerances.max_abs, found.max_abs if numbers else None, at_least=False),
        _Limit("the share of pixels of equal class", tolerances.agreement, found.pixels, at_least=True),
    )
    if all(one.limit is None or one.found is None for one in limits):
        raise GateFailed(f"outputs are not the golden ones ({_said(found)}), and the bundle tolerates no difference.")
    for one in limits:
        if not one.holds():
            raise GateFailed(
                f"outputs are too far from the golden ones: {one.name} is {one.found:.5g}{one.unit}, expected "
                f"{'at least' if one.at_least else 'at most'} {one.limit:.5g}{one.unit}; build it for this machine."
            )


def _said(found: Agreement) -> str:
    parts = [] if math.isnan(found.max_abs) else [f"SQNR {found.sqnr_db:.1f} dB", f"largest error {found.max_abs:.3g}"]
    parts += [] if found.pixels is None else [f"{100 * found.pixels:.3f} % of pixels agree"]
    return ", ".join(parts)
