"""The ways in which `mutations.py` changes a bundle, an archive of one, and an entry of the store: one function each.

Each changes what lies at a path, whose copy is its own; it draws from a seeded generator, and always changes something.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from visiondeploy.pipeline.artifact import DESCRIPTION
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE
from visiondeploy.pipeline.bundle.signing import sign

Change = Callable[[Path, random.Random, "Ground"], None]


@dataclass(frozen=True)
class Ground:
    """What changes draw on: another bundle by the same signer, somebody else's key, and other entries of the store."""

    other: Path
    stranger: Path
    entries: tuple[Path, ...] = ()


def files(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def some(folder: Path, rng: random.Random, least: int = 1) -> Path:
    """A file of at least so many bytes."""
    return rng.choice([path for path in files(folder) if path.stat().st_size >= least])


def edit(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change the bytes of a file."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def flip(at: Path, rng: random.Random, _: Ground) -> None:
    """One bit."""

    def change(data: bytearray) -> None:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)

    edit(some(at, rng) if at.is_dir() else at, change)


def cut(at: Path, rng: random.Random, _: Ground) -> None:
    """The end of a file."""
    path = some(at, rng) if at.is_dir() else at
    edit(path, lambda data: data.__delitem__(slice(rng.randrange(len(data)), None)))


def lengthen(at: Path, rng: random.Random, _: Ground) -> None:
    """More bytes at the end."""
    edit(some(at, rng) if at.is_dir() else at, lambda data: data.extend(rng.randbytes(rng.randrange(1, 600))))


def swap_blocks(at: Path, rng: random.Random, _: Ground) -> None:
    """Two places of one file change theirs."""

    def change(data: bytearray) -> None:
        before, size = bytes(data), rng.randrange(1, max(2, len(data) // 4))
        while bytes(data) == before:
            one, other = rng.randrange(len(data) // 2 - size // 2), rng.randrange(len(data) // 2, len(data) - size)
            data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]
            size = max(1, size // 2)

    edit(some(at, rng, 64), change)


def swap_files(at: Path, rng: random.Random, _: Ground) -> None:
    """Two files change places."""
    one, other = rng.sample(files(at), 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def remove(at: Path, rng: random.Random, _: Ground) -> None:
    """A file less."""
    some(at, rng, 0).unlink()


def rename(at: Path, rng: random.Random, _: Ground) -> None:
    """A file under another name, also in other letters."""
    path = some(at, rng, 0)
    path.rename(path.with_name(rng.choice((path.name.swapcase(), f"{path.name}.bak", f".{path.name}", path.name[1:]))))


def add(at: Path, rng: random.Random, _: Ground) -> None:
    """A file that nobody asked for, also where Git and GitHub keep theirs."""
    folders = [at, *(path for path in at.rglob("*") if path.is_dir()), at / ".github", at / ".git", at / "new"]
    names = ("model.data", ".gitattributes", ".gitignore", "x.py", "__init__.py", "weights.pt", "a b", "MANIFEST.JSON")
    path = rng.choice(folders) / rng.choice(names)
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_bytes(rng.randbytes(rng.randrange(40)))
    path.chmod(0o644)


def add_folder(at: Path, rng: random.Random, _: Ground) -> None:
    """An empty folder."""
    parent = rng.choice([at, *(path for path in at.rglob("*") if path.is_dir())])
    (parent / rng.choice((".git", ".github", "2", "empty"))).mkdir(mode=0o755)


def change_mode(at: Path, rng: random.Random, _: Ground) -> None:
    """Other permissions."""
    path = rng.choice(sorted(at.rglob("*")))
    expected = 0o755 if path.is_dir() else 0o644
    path.chmod(rng.choice([mode for mode in (0o755, 0o644, 0o777, 0o666, 0o4755, 0o600, 0o2755) if mode != expected]))


def link(at: Path, rng: random.Random, _: Ground) -> None:
    """A symbolic link instead of a file, to the same bytes."""
    path = some(at, rng, 0)
    target = at.parent / "linked"
    path.rename(target)
    path.symlink_to(target)


def refit(at: Path, rng: random.Random, ground: Ground) -> None:
    """A changed file, and a manifest whose digest and size fit it."""
    manifest = json.loads((at / MANIFEST).read_bytes())
    path = rng.choice([entry["path"] for entry in manifest["files"] if entry["size"]])
    change = rng.choice((flip, cut, lengthen))
    change(at / path, rng, ground)
    for entry in manifest["files"]:
        if entry["path"] == path:
            data = (at / path).read_bytes()
            entry.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    respell(at, manifest)


def respell(at: Path, content: dict[str, Any]) -> None:
    """Write a manifest as `deploy bundle` spells it, also where it contradicts itself."""
    (at / MANIFEST).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


FIELDS: tuple[Callable[[dict[str, Any], random.Random], object], ...] = (
    lambda found, rng: found["tolerances"].update(sqnr_db=0.0, max_abs=None, agreement=0.0, exact=False),
    lambda found, rng: found["verdict"].update(status="PASS", forced=False, first="changed"),
    lambda found, rng: found["target"].update(runtimes={"numpy": "1"}),
    lambda found, rng: found["target"].update(isa=[], machine="any"),
    lambda found, rng: found["engine"].update(threads=found["engine"]["threads"] + rng.randrange(1, 9)),
    lambda found, rng: found["engine"].update(backend=rng.choice(("torchscript", "pytorch", "tensorrt"))),
    lambda found, rng: found["engine"].update(folder=rng.choice(("model", "golden", "../..", "/etc"))),
    lambda found, rng: found.update(version=found["version"] + 1),
    lambda found, rng: found.update(name=f"other-{rng.randrange(99)}"),
    lambda found, rng: found.update(network=f"{rng.getrandbits(256):064x}"),
    lambda found, rng: found.update(visiondeploy="99.0"),
    lambda found, rng: found["contract"].update(classes=found["contract"]["classes"][::-1]),
    lambda found, rng: found["contract"].update(palette=found["contract"]["palette"][::-1]),
    lambda found, rng: found["contract"]["inputs"][0].update(low=-1.0, high=999.0),
    lambda found, rng: found["contract"]["inputs"][0].update(name="other"),
    lambda found, rng: found["contract"]["preprocessing"].update(mean=[0.0, 0.0, 0.0]),
    lambda found, rng: found["files"].pop(rng.randrange(len(found["files"]))),
    lambda found, rng: found["files"].append(dict(found["files"][0], path="zzz")),
    lambda found, rng: found["files"][0].update(path="../" + found["files"][0]["path"]),
    lambda found, rng: found.update(more=1),
)


def edit_manifest(at: Path, rng: random.Random, _: Ground) -> None:
    """Another value in the manifest."""
    content = json.loads((at / MANIFEST).read_bytes())
    before = json.dumps(content)
    while json.dumps(content) == before:
        rng.choice(FIELDS)(content, rng)
    respell(at, content)


def sign_as_stranger(at: Path, rng: random.Random, ground: Ground) -> None:
    """A changed file, digests that fit it, and a signature of somebody else."""
    refit(at, rng, ground)
    sign(at, ground.stranger)


def another_signature(at: Path, rng: random.Random, ground: Ground) -> None:
    """A changed file, digests that fit it, and a signature of the signer's own for another bundle."""
    refit(at, rng, ground)
    shutil.copy(ground.other / SIGNATURE, at / SIGNATURE)


def no_signature(at: Path, rng: random.Random, _: Ground) -> None:
    """None, an empty one, or half of it."""
    path = at / SIGNATURE
    data = path.read_bytes()
    path.write_bytes(data[: rng.choice((0, len(data) // 2, len(data) - 1))])
    if rng.random() < 0.3:
        path.unlink()


def edit_signature(at: Path, rng: random.Random, _: Ground) -> None:
    """Another character in the signature."""

    def change(data: bytearray) -> None:
        place = rng.randrange(len(data))
        data[place] = rng.choice([byte for byte in b'AZaz09+/="{} \n' if byte != data[place]])

    edit(at / SIGNATURE, change)


Members = Sequence[tuple[tarfile.TarInfo, bytes]]


def member(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = len(data), 0o644, kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def _instead(**fields: Any) -> Callable[[str, bytes], Members]:
    """The member with other fields."""
    return lambda name, data: [member(name, data, **fields)]


TRICKS: tuple[Callable[[str, bytes], Members], ...] = (
    lambda name, data: [member(f"../{name}", data)],
    lambda name, data: [member(f"/{name}", data)],
    lambda name, data: [member(f"./{name}", data)],
    lambda name, data: [member(name.swapcase(), data)],
    lambda name, data: [member(name, data), member(name, data)],
    lambda name, data: [member(name, data), member(name.swapcase(), data)],
    lambda name, data: [member(name, data), member(f"{name}/below", b"x")],
    lambda name, data: [member(name, kind=tarfile.SYMTYPE, linkname="../elsewhere")],
    lambda name, data: [member(name, kind=tarfile.SYMTYPE, linkname=".."), member(f"{name}/x", data)],
    lambda name, data: [member(name, kind=tarfile.LNKTYPE, linkname=MANIFEST)],
    lambda name, data: [member(name, kind=tarfile.FIFOTYPE)],
    lambda name, data: [member(name, kind=tarfile.CHRTYPE, devmajor=1, devminor=5)],
    lambda name, data: [member(name, kind=tarfile.BLKTYPE)],
    lambda name, data: [member(name, data, kind=tarfile.CONTTYPE)],
    lambda name, data: [member("new", kind=tarfile.DIRTYPE, mode=0o755), member(name, data)],
    lambda name, data: [member(".github/x.yml", b"on: push"), member(name, data)],
    lambda name, data: [member(name, data + b"x")],
    lambda name, data: [member(name, data[:-1] + b"x")] if data else [],
    lambda name, data: [],
    lambda name, data: [member(name, data, pax_headers={"path": "../elsewhere"})],
    lambda name, data: [member(name, data, pax_headers={"GNU.sparse.size": "9"})],
    lambda name, data: [member(name + "x" * 200, data)],
    *(_instead(mode=mode) for mode in (0o755, 0o4644, 0o666, 0)),
    _instead(uid=1000),
    _instead(uname="root"),
    _instead(mtime=1),
)


def members(at: Path, rng: random.Random, _: Ground) -> None:
    """A tar with one member that is not as it has to be, or with two in each other's place."""
    content = zstandard.ZstdDecompressor().decompress(at.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as reading:
        found = [(info.name, file.read()) for info in reading if (file := reading.extractfile(info))]
    made = io.BytesIO()
    chosen, trick = rng.randrange(len(found)), rng.randrange(len(TRICKS) + 1)
    if trick == len(TRICKS):
        other = (chosen + 1) % len(found)
        found[chosen], found[other] = found[other], found[chosen]
    with tarfile.open(fileobj=made, mode="w", format=rng.choice((tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT))) as writing:
        for number, (name, data) in enumerate(found):
            changed = trick < len(TRICKS) and number == chosen
            for info, body in TRICKS[trick](name, data) if changed else [member(name, data)]:
                # Longer than 255 is no name of a plain tar.
                info.name = info.name[: 99 if writing.format == tarfile.USTAR_FORMAT else 400]
                writing.addfile(info, io.BytesIO(body))
    at.write_bytes(_compressed(made.getvalue()))


def frames(at: Path, rng: random.Random, _: Ground) -> None:
    """Another frame around the tar, or something after it."""
    data = at.read_bytes()
    content = zstandard.ZstdDecompressor().decompress(data)
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0note"
    at.write_bytes(
        rng.choice(
            (
                data + skipped,
                skipped + data,
                data + _compressed(b""),
                _compressed(content + bytes(512)),
                _compressed(content[:-512]),
                _compressed(content + content),
                zstandard.ZstdCompressor(write_content_size=True).compress(content),
                zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(content),
                _compressed(bytes(rng.randrange(65, 90) << 20)),
                content,
            )
        )
    )


def _compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=9, write_checksum=True, write_content_size=True).compress(data)


def from_another(at: Path, rng: random.Random, ground: Ground) -> None:
    """A file of another entry under the name of one of this."""
    path = some(at, rng)
    others = [file for entry in ground.entries for file in files(entry)]
    different = [file for file in others if file.read_bytes() != path.read_bytes()]
    shutil.copy(rng.choice(different), path)


def whole_other(at: Path, rng: random.Random, ground: Ground) -> None:
    """Another entry in this one's place."""
    shutil.rmtree(at)
    shutil.copytree(rng.choice([entry for entry in ground.entries if entry.name != at.name]), at)


def refit_entry(at: Path, rng: random.Random, ground: Ground) -> None:
    """A changed file, and `artifact.json` with the digest and size that fit it."""
    description = json.loads((at / DESCRIPTION).read_bytes())
    name = rng.choice(sorted(name for name, record in description["files"].items() if record["size"]))
    rng.choice((flip, cut, lengthen))(at / name, rng, ground)
    data = (at / name).read_bytes()
    description["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (at / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")


OF_FOLDERS: dict[str, Change] = {
    "bit flipped": flip,
    "truncated": cut,
    "lengthened": lengthen,
    "blocks swapped": swap_blocks,
    "files swapped": swap_files,
    "file removed": remove,
    "file renamed": rename,
    "file added": add,
    "empty folder added": add_folder,
    "mode changed": change_mode,
    "symbolic link": link,
    "file changed, digests fitted": refit,
    "manifest edited": edit_manifest,
    "signed by a stranger": sign_as_stranger,
    "signature of another bundle": another_signature,
    "signature cut or removed": no_signature,
    "signature edited": edit_signature,
}
OF_ARCHIVES: dict[str, Change] = {
    "archive: bit flipped": flip,
    "archive: truncated": cut,
    "archive: lengthened": lengthen,
    "archive: members": members,
    "archive: frames": frames,
}
OF_ENTRIES: dict[str, Change] = {
    "store: bit flipped": flip,
    "store: truncated": cut,
    "store: lengthened": lengthen,
    "store: blocks swapped": swap_blocks,
    "store: files swapped": swap_files,
    "store: file removed": remove,
    "store: file renamed": rename,
    "store: file added": add,
    "store: symbolic link": link,
    "store: file of another entry": from_another,
    "store: another entry": whole_other,
    "store: file changed, digest fitted": refit_entry,
}
