"""A bundle whose every digest was checked, for those who are about to read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visiondeploy.errors import InputError, IntegrityError, UsageError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.bundle.manifest import LARGEST_MANIFEST, MANIFEST, SIGNATURE, Manifest
from visiondeploy.pipeline.files import sha256_file, tree


@contextmanager
def checked(bundle: Path, key: Path | None = None) -> Iterator[tuple[Path, Manifest]]:
    """The folder of a bundle and its manifest. Raises `InputError`, `IntegrityError`."""
    if key is not None:
        raise UsageError("signatures are not checked here yet.")
    try:
        data = read_bytes(bundle / MANIFEST, LARGEST_MANIFEST)
        files, _ = tree(bundle)
    except OSError as error:
        raise InputError(f"{bundle} is no bundle ({error.strerror}): expected a folder with {MANIFEST}.") from None
    manifest = Manifest.from_json(data, str(bundle / MANIFEST))
    if set(files) - {MANIFEST, SIGNATURE} != {entry.path for entry in manifest.files}:
        raise IntegrityError(f"{bundle} has other files than its manifest: get the bundle again.")
    for entry in manifest.files:
        if sha256_file(bundle / entry.path) != entry.sha256:
            raise IntegrityError(f"{bundle / entry.path} has another digest than its manifest: get the bundle again.")
    yield bundle, manifest
