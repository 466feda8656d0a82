"""Where a bundle appears: a folder or an archive that is there whole or not at all.

What is made lies in a folder beside the target, named after it, and becomes the target with one rename. The folder that
both are in is locked meanwhile, so that what lies there under such a name belongs to a run that was killed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visiondeploy.errors import UsageError
from visiondeploy.pipeline.bundle.archive import ENDING, FILE_MODE, pack
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE
from visiondeploy.pipeline.files import resource_error, sha256_file, sync_folder, tree
from visiondeploy.pipeline.folder import check_place, locked

FOLDER_MODE = 0o755

_ADVICE = "choose another place with -o"


def check_target(target: Path) -> None:
    """Raise now what could only be found when all is made: a target that is something else or cannot be written.

    Raises `UsageError` where something is there that is no bundle, `ResourceError` where nothing can be.
    """
    check_place(target.absolute().parent)
    if not os.path.lexists(target) or (is_archive(target) and target.is_file()):
        return
    if is_archive(target) or not target.is_dir():
        kind = "a folder" if target.is_dir() else "no folder"
        raise UsageError(f"{target} is {kind}, and a bundle is to be written there: choose another name with -o.")
    if any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise UsageError(f"{target} holds files but no bundle: choose an empty or new folder with -o.")


def is_archive(target: Path) -> bool:
    """Whether a target is to be one file."""
    return target.name.endswith(ENDING)


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """An empty folder that becomes the target when the block ends, and vanishes when it raises.

    A target that holds the same already, but for its signature, stays as it is. Raises `UsageError` for one that holds
    something else, `ResourceError` where it cannot be written.
    """
    parent = target.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with locked(parent):
            _remove_leftovers(parent, target.name)
            work = parent / f".{target.name}.{secrets.token_hex(8)}.bundling"
            try:
                work.mkdir()
                made = work / "bundle"
                made.mkdir()
                yield made
                seal(made)
                _install(made, target)
                sync_folder(parent)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise resource_error(error, target, _ADVICE) from error


def _install(made: Path, target: Path) -> None:
    if is_archive(target):
        packed = made.with_name(target.name)
        pack(made, packed)
        packed.chmod(FILE_MODE)
        made = packed
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        if not _same(made, target):
            raise UsageError(
                f"{target} holds another bundle, and one that is served is not replaced: choose another name with -o, "
                "or remove it."
            )
        return
    made.rename(target)


def _same(made: Path, target: Path) -> bool:
    """Whether the target is what was made; signatures are another each time."""
    if made.is_dir() != target.is_dir():
        return False
    if made.is_file():
        return sha256_file(made) == sha256_file(target)
    (one, _), (other, _) = tree(made), tree(target)
    mine, theirs = set(one) - {SIGNATURE}, set(other) - {SIGNATURE}
    return (
        mine == theirs
        and (SIGNATURE in one) == (SIGNATURE in other)
        and all(sha256_file(made / name) == sha256_file(target / name) for name in mine)
    )


def seal(folder: Path) -> None:
    """Give all modes that do not hang on the user's umask, and bring the names in all folders to the disk."""
    files, folders = tree(folder)
    for name in files:
        (folder / name).chmod(FILE_MODE)
    for name in ("", *folders):
        (folder / name).chmod(FOLDER_MODE)
        sync_folder(folder / name)


def _remove_leftovers(parent: Path, name: str) -> None:
    """What killed runs left of this target. The lock of the folder is held, so nobody is writing it now."""
    left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.bundling")
    for path in parent.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
