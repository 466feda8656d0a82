"""How `torchrun` started this process, if it did."""

from __future__ import annotations

import os
from dataclasses import dataclass

from visiondeploy.errors import UsageError


@dataclass(frozen=True, slots=True)
class Launch:
    """This process's place among those that train together: its `rank` from 0 of `count`."""

    rank: int
    count: int


def launched() -> Launch:
    """From the variables of `torchrun`; one process where they are not there. Raises `UsageError` where they are off.

    LOCAL_RANK decides, as it does for Accelerate: cluster managers set RANK and WORLD_SIZE for reasons of their own.
    """
    if "LOCAL_RANK" not in os.environ:
        return Launch(0, 1)
    found = {name: os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if not all(value.isdecimal() for value in found.values()) or int(found["RANK"]) >= int(found["WORLD_SIZE"]):
        said = ", ".join(f"{name}={value!r}" for name, value in found.items())
        raise UsageError(f"{said} is no process of torchrun: start it with torchrun, or unset these variables.")
    return Launch(int(found["RANK"]), int(found["WORLD_SIZE"]))
