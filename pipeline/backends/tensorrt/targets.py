"""The GPUs that an engine is built for ahead of time, by CUDA compute capability: "sm_86"."""

from __future__ import annotations

import re
from collections.abc import Iterable

from visiondeploy.errors import EnvironmentMismatch, unknown_name

TARGETS = {
    "sm_75": "Turing: T4, RTX 20",
    "sm_80": "Ampere: A100",
    "sm_86": "Ampere: A10, RTX 30",
    "sm_89": "Ada: L4, L40S, RTX 40",
    "sm_120": "Blackwell: RTX 50, RTX PRO",
    "sm_121": "Blackwell: GB10",
}
"""What TensorRT-RTX 1.7 builds for."""

TURING = "sm_75"

PORTABLE = tuple(name for name in TARGETS if name != TURING)
"""What an engine is for where nothing is named. Turing makes the others of one engine as slow as it is itself."""

FLOAT8 = ("sm_89", "sm_120", "sm_121")
"""The targets that multiply fp8, and what an engine in it is for where nothing is named."""

_ELSEWHERE = {
    "sm_70": "Volta",
    "sm_87": "Jetson Orin",
    "sm_90": "Hopper",
    "sm_100": "Blackwell of data centres",
    "sm_103": "Blackwell of data centres",
    "sm_110": "Jetson Thor",
}
"""GPUs that exist, and that TensorRT-RTX does not build for."""


def targets_of(wanted: Iterable[str], *, fp8: bool = False) -> tuple[str, ...]:
    """The targets by their names ("sm_86", "SM86" and "8.6" are one), sorted, each once.

    `PORTABLE` stands for none, with `fp8` those of `FLOAT8`. Raises `UsageError` for what is no GPU,
    `EnvironmentMismatch` for one that TensorRT-RTX does not build for, or that multiplies no fp8 where that is wanted.
    """
    found = tuple(sorted({_checked(name) for name in wanted}, key=_number)) or (FLOAT8 if fp8 else PORTABLE)
    for target in found if fp8 else ():
        check_fp8(target)
    return found


def check_fp8(target: str) -> None:
    """Raise `EnvironmentMismatch` for a GPU that does not multiply fp8: one before SM89."""
    if _number(target) < _number(FLOAT8[0]):
        known = f" ({TARGETS[target]})" if target in TARGETS else ""
        raise EnvironmentMismatch(
            f"{target}{known} multiplies no fp8, GPUs from {FLOAT8[0]} on do: leave it away, or choose "
            "--precision int8 or fp16."
        )


def target_of(capability: tuple[int, int]) -> str:
    """The name of a device's compute capability, (8, 6), as a target."""
    return f"sm_{capability[0]}{capability[1]}"


def member_of(target: str) -> str:
    """What TensorRT-RTX's `ComputeCapability` calls a target: "SM86"."""
    return f"SM{_number(target)}"


def _number(target: str) -> int:
    return int(target.removeprefix("sm_"))


def _checked(name: str) -> str:
    plain = re.fullmatch(r"(?:sm_?)?(?:([0-9]{2,3})|([0-9]{1,2})\.([0-9]))", name.strip().lower(), re.ASCII)
    target = f"sm_{plain[1] or plain[2] + plain[3]}" if plain else name
    if target in _ELSEWHERE:
        raise EnvironmentMismatch(
            f"TensorRT-RTX does not build for {target} ({_ELSEWHERE[target]}), only for {', '.join(TARGETS)}: for such "
            "a GPU use --backend tensorrt on a machine that has it."
        )
    if target not in TARGETS:
        raise unknown_name("target", target, TARGETS)
    return target
