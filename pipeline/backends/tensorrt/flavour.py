"""The two TensorRTs: which module each is, and what each has of the recipe's [engine].

The names that this package uses exist in tensorrt 10.16, 11.4 and tensorrt_rtx 1.7 alike.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from visiondeploy.errors import BackendUnavailable

_SHARED = frozenset({"batch", "height", "width", "workspace_mib", "tf32", "allow_fallback"})


@dataclass(frozen=True, slots=True)
class Flavour:
    """One of them. `name` is the backend's, `package` what pip calls it, `title` what people call it.

    `ahead_of_time` says whether it builds for GPUs that are named, none of which need be here; else it builds on
    the GPU that is here, for that one. `captures` says whether its runtime replays CUDA graphs by itself.
    `settings` are the fields of [engine] that have an effect: of TensorRT-RTX
    1.7 the timing cache is a no-op, and its engines are byte-identical at every builder level.
    """

    name: str
    title: str
    package: str
    module_name: str
    ahead_of_time: bool
    captures: bool
    settings: frozenset[str]

    def module(self) -> Any:
        """The Python module. Raises `BackendUnavailable` where it does not import."""
        try:
            return importlib.import_module(self.module_name)
        except (ImportError, OSError) as error:  # OSError: its libraries are not found or not for this machine
            reason = str(error).strip().splitlines()[0]
            raise BackendUnavailable(
                f"{self.title} does not import ({reason}): pip install 'visiondeploy[{self.name}]'."
            ) from error


TENSORRT = Flavour(
    name="tensorrt",
    title="TensorRT",
    package="tensorrt",
    module_name="tensorrt",
    ahead_of_time=False,
    captures=False,
    settings=_SHARED | {"builder_level", "timing_cache"},
)

TENSORRT_RTX = Flavour(
    name="tensorrt-rtx",
    title="TensorRT-RTX",
    package="tensorrt-rtx",
    module_name="tensorrt_rtx",
    ahead_of_time=True,
    captures=True,
    settings=_SHARED | {"targets"},
)
