"""Where the cache is: the store of artifacts, and the weights of feature networks."""

from __future__ import annotations

import os
from pathlib import Path

from visiondeploy.errors import ResourceError


def default_root() -> Path:
    """$VISIONDEPLOY_CACHE, else $XDG_CACHE_HOME/visiondeploy, else ~/.cache/visiondeploy; nothing is created.

    Raises `ResourceError` where there is no home folder.
    """
    try:
        if chosen := os.environ.get("VISIONDEPLOY_CACHE"):
            return Path(chosen).expanduser().absolute()
        shared = Path(os.environ.get("XDG_CACHE_HOME") or ".")
        # The XDG specification has relative paths ignored.
        return (shared if shared.is_absolute() else Path.home() / ".cache") / "visiondeploy"
    except RuntimeError as error:
        raise ResourceError("no home folder was found for the cache; set VISIONDEPLOY_CACHE to a folder.") from error
