"""Files of a report that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from visiondeploy.errors import ResourceError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream for the content of `path`, which holds the old file or the whole new one, whatever happens meanwhile.

    Raises ResourceError where it cannot be written (no folder, no right, no space).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(f"{path} could not be written: {error.strerror or error}; check the folder.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
