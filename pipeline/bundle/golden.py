"""Golden runs: what an engine is fed for a few real images, and what it gives.

Both are safetensors files, with a tensor for each input or output of each run: "0.image" is input "image" of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visiondeploy.errors import InputError
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.types import Array, Session, Split, Task

FOLDER = "golden"
INPUTS = f"{FOLDER}/inputs.safetensors"
OUTPUTS = f"{FOLDER}/outputs.safetensors"

FEWEST, MOST = 2, 4
ENOUGH = 24 << 20
"""Bytes of outputs after which there are no more runs than `FEWEST`."""

Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Golden:
    """Feeds and outputs of each run, one image a run.

    `exact` says whether a session gave the same bits as another, `exact_in_batches` whether all images in one batch
    gave the bits that each gives alone; None where that was not asked.
    """

    inputs: tuple[Tensors, ...]
    outputs: tuple[Tensors, ...]
    exact: bool
    exact_in_batches: bool | None = None


def record(load: Callable[[], Session], task: Task, split: Split, *, batches: bool = False) -> Golden:
    """Run images of a split, the first and others evenly from it, in a session; and all of them again in another.

    With `batches` they are also run at once.

    Raises what `load` and the session raise, `InputError` where an output holds NaN or infinity.
    """
    chosen = np.linspace(0, len(split) - 1, min(MOST, len(split))).astype(int)
    feeds = [task.preprocess([split[int(number)]]) for number in dict.fromkeys(chosen.tolist())]
    with load() as session:
        outputs = []
        for feed in feeds:
            found = session.infer(feed)
            _check(found)
            outputs.append({name: np.array(value) for name, value in found.items()})
            if len(outputs) >= FEWEST and sum(value.nbytes for one in outputs for value in one.values()) > ENOUGH:
                break
    feeds = feeds[: len(outputs)]
    with load() as session:
        again = [_same(session.infer(feed), output) for feed, output in zip(feeds, outputs, strict=True)]
        together = _same(session.infer(_stacked(feeds)), _stacked(outputs)) if batches else None
    return Golden(tuple(feeds), tuple(outputs), all(again), together)


def write(golden: Golden, folder: Path) -> None:
    """Write the two files below the bundle's folder, the same bytes each time. Raises `ResourceError`."""
    from safetensors.numpy import save

    for name, runs in ((INPUTS, golden.inputs), (OUTPUTS, golden.outputs)):
        # Without metadata, whose entries safetensors writes in an order of its own.
        write_atomic(folder / name, save(_numbered(runs)))


def read(folder: Path) -> tuple[tuple[Tensors, Tensors], ...]:
    """Feeds and outputs of each run. Raises `InputError` where the files are damaged or do not belong together."""
    inputs, outputs = (_apart(folder / name) for name in (INPUTS, OUTPUTS))
    if not inputs or len(inputs) != len(outputs):
        raise InputError(f"{folder / FOLDER} has {len(inputs)} inputs and {len(outputs)} outputs: bundle it again.")
    return tuple(zip(inputs, outputs, strict=True))


def _numbered(runs: Sequence[Tensors]) -> dict[str, Array]:
    return {
        f"{number}.{name}": np.ascontiguousarray(value)
        for number, run in enumerate(runs)
        for name, value in sorted(run.items())
    }


def _apart(path: Path) -> list[dict[str, Array]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}), expected safetensors: bundle it again.") from None
    runs: dict[int, dict[str, Array]] = {}
    for key, value in found.items():
        number, dot, name = key.partition(".")
        if not (dot and name and number.isascii() and number.isdecimal() and str(int(number)) == number):
            raise InputError(f"{path} has a tensor {key!r}, expected a number, a dot and a name: bundle it again.")
        runs.setdefault(int(number), {})[name] = value
    if sorted(runs) != list(range(len(runs))):
        raise InputError(f"{path} lacks one of its {len(runs)} runs: bundle it again.")
    return [runs[number] for number in range(len(runs))]


def _check(outputs: Tensors) -> None:
    for name, value in outputs.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise InputError(f"the engine gives NaN or infinity in '{name}' for an image of the validation split.")


def _stacked(runs: Sequence[Tensors]) -> dict[str, Array]:
    """Runs as one, with the batches of all behind each other."""
    return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}


def _same(one: Tensors, other: Tensors) -> bool:
    """Equal bit for bit."""
    return one.keys() == other.keys() and all(
        value.dtype == other[name].dtype
        and value.shape == other[name].shape
        and value.tobytes() == other[name].tobytes()
        for name, value in one.items()
    )
