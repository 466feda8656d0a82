"""What calibration saw of a graph, as a file: one pass over the images serves every scheme and observer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.types import Array

_SCALES = "channel scales"


@dataclass(frozen=True, slots=True)
class Observation:
    """Statistics of tensors by name, of a graph whose channels were divided by `scales` (see `equalise.py`)."""

    statistics: Mapping[str, TensorStatistics]
    scales: Mapping[str, Array] = field(default_factory=dict)


def save_observation(observation: Observation, path: Path) -> None:
    """Write an observation as safetensors."""
    from safetensors.numpy import save_file

    arrays = {f"{tensor}#{_SCALES}": scale for tensor, scale in observation.scales.items()}
    for tensor, statistics in observation.statistics.items():
        arrays |= {f"{tensor}#{name}": value for name, value in statistics.state().items()}
    save_file(arrays, path)


def load_observation(path: Path) -> Observation:
    """Read what `save_observation` wrote."""
    from safetensors.numpy import load_file

    scales: dict[str, Array] = {}
    states: dict[str, dict[str, Array]] = {}
    for key, value in load_file(path).items():
        tensor, _, name = key.rpartition("#")
        if name == _SCALES:
            scales[tensor] = value
        else:
            states.setdefault(tensor, {})[name] = value
    return Observation({tensor: TensorStatistics.from_state(state) for tensor, state in states.items()}, scales)
