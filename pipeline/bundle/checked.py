"""A bundle whose every digest was checked, for those who are about to read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visiondeploy.errors import IntegrityError
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.bundle.signing import check_signature
from visiondeploy.pipeline.bundle.snapshot import snapshot
from visiondeploy.pipeline.files import sha256_file


@contextmanager
def checked(bundle: Path, key: Path | None = None) -> Iterator[tuple[Path, Manifest]]:
    """The folder of a bundle (a folder or NAME.tar.zst) and its manifest; with `key` its signature holds, too.

    The folder is a copy of our own, which is removed afterwards. Raises `InputError` for what is no bundle,
    `IntegrityError` for one that is not as it was made, `ResourceError` where there is no room for the copy.
    """
    with snapshot(bundle) as copy:
        if key is not None:
            check_signature(copy.folder, copy.manifest, key)
        check_digests(copy.folder, copy.manifest)
        yield copy.folder, copy.manifest


def check_digests(folder: Path, manifest: Manifest) -> None:
    """Raise `IntegrityError` for the first file that has other bytes than the manifest lists."""
    for entry in manifest.files:
        found = sha256_file(folder / entry.path)
        if found != entry.sha256:
            raise IntegrityError(
                f"{entry.path} has the digest {found[:12]}…, {MANIFEST} lists {entry.sha256[:12]}…: do not use the "
                "bundle; copy it again, or make it again with `deploy bundle`."
            )
