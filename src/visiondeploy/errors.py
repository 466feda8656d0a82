"""What can go wrong, as a tree; the exit code of `deploy` lives on the class.

    VisionDeployError          1
    ├── GateFailed             1   a limit of the recipe or suite is not held
    ├── UsageError             2   the words of the call or a recipe key are off
    ├── InputError             3   a file that was given is not what it should be
    ├── IntegrityError         4   a digest or signature does not match
    ├── EnvironmentMismatch    5   this machine or target cannot do what was asked
    │   └── BackendUnavailable 5   a runtime is not installed, or cannot run the precision
    └── ResourceError          6   disk, memory or a lock

Every message is one sentence that names the file or option, what was found, what was expected and the
next step. 130 (interrupted) is not an error of ours: the command line maps `KeyboardInterrupt` to it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VisionDeployError(Exception):
    """Base of every error that a user can cause or mend."""

    exit_code = 1


class GateFailed(VisionDeployError):
    """A measured value does not hold its limit."""


class UsageError(VisionDeployError):
    """An option, a recipe key or a name is not one that exists."""

    exit_code = 2


class InputError(VisionDeployError):
    """A file or folder that was given is missing, damaged or of the wrong kind."""

    exit_code = 3


class IntegrityError(VisionDeployError):
    """Bytes are not those whose digest was recorded."""

    exit_code = 4


class EnvironmentMismatch(VisionDeployError):
    """This machine, or the named target, cannot do what was asked."""

    exit_code = 5


class BackendUnavailable(EnvironmentMismatch):
    """A runtime is not installed here, or does not run the precision."""


class ResourceError(VisionDeployError):
    """Disk, memory or a lock could not be had."""

    exit_code = 6


def unknown_name(kind: str, found: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is in no table: lists what exists and suggests the nearest.

    >>> str(unknown_name("network", "unit", ["unet", "deeplab"]))
    "there is no network 'unit': did you mean 'unet'? Known: deeplab, unet."
    """
    names = sorted(known)
    near = difflib.get_close_matches(found, names, n=1)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return UsageError(f"there is no {kind} {found!r}:{hint} Known: {', '.join(names)}.")
