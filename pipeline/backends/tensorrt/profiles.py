"""The optimisation profile of a network, checked before the builder sees it.

The builder itself answers a bad one with −1 and no word, and takes a batch of 0 for an engine that computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.engine import EngineSettings

Shape = tuple[int, ...]

FREE = -1
"""What TensorRT has for the extent of a free axis."""

_CHANNELS_FIRST = ("batch", "channels", "height", "width")
_CHANNELS_LAST = ("batch", "height", "width", "channels")
_MAP = ("batch", "height", "width")


@dataclass(frozen=True, slots=True)
class Profile:
    """The smallest, the most usual and the largest shape of an input."""

    min: Shape
    opt: Shape
    max: Shape

    def admits(self, shape: Shape) -> bool:
        """Whether an engine with this profile takes an input of a shape."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )

    def __str__(self) -> str:
        same = self.min == self.max
        return _written(self.min) if same else f"{_written(self.min)} to {_written(self.max)}"


def axes_of(shape: Shape) -> tuple[str, ...]:
    """Names for the axes of a tensor: N×H×W×3 for raw images, else N×C×H×W; N×H×W for maps of classes."""
    match len(shape):
        case 4:
            return _CHANNELS_LAST if shape[3] == 3 != shape[1] else _CHANNELS_FIRST
        case 3:
            return _MAP
        case count:
            return tuple(f"axis{number}" for number in range(count))


def profile_of(name: str, shape: Shape, settings: EngineSettings) -> Profile:
    """The profile of an input whose free axes are −1.

    Raises `UsageError` where a free axis has no range, or a range is given for one that is fixed to something else.
    """
    ranges = {"batch": settings.batch, "height": settings.height, "width": settings.width}
    extents = []
    for axis, size in zip(axes_of(shape), shape, strict=True):
        wanted = ranges.get(axis)
        if size == FREE:
            if axis not in ranges:
                raise UsageError(f"{axis} of input '{name}' is free, and only batch, height and width may be.")
            if wanted is None:
                raise UsageError(
                    f"the {axis} of input '{name}' is free and has no range: set engine.{axis} = [min, opt, max]"
                    + (", or export without export.dynamic_size." if axis in {"height", "width"} else ".")
                )
            extents.append(wanted)
        elif wanted is not None and set(wanted) != {size} and not _untouched(axis, settings):
            raise UsageError(
                f"engine.{axis} is {list(wanted)}, but the {axis} of input '{name}' is fixed to {size}"
                + (": set export.dynamic_size = true." if axis in {"height", "width"} else ": leave it away.")
            )
        else:
            extents.append((size, size, size))
    low, usual, high = zip(*extents, strict=True)
    return Profile(low, usual, high)


def _untouched(axis: str, settings: EngineSettings) -> bool:
    return axis not in settings.changed()


def _written(shape: Shape) -> str:
    return "×".join(map(str, shape))
