"""A bundle as one file: what is packed comes back, and nothing else is unpacked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.builds import contents
from kit.bundles import FILES, manifest_of, put, write_bundle

from visiondeploy.errors import InputError, IntegrityError, VisionDeployError
from visiondeploy.pipeline.bundle.archive import pack, unpack
from visiondeploy.pipeline.bundle.manifest import MANIFEST, SIGNATURE, Role

BLOCK = 512


@pytest.fixture
def packed(tmp_path) -> Path:
    pack(write_bundle(tmp_path / "toy"), tmp_path / "toy.tar.zst")
    return tmp_path / "toy.tar.zst"


def unpacked(path: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    unpack(path, folder)
    return contents(folder)


def frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(data)


def content(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().decompress(path.read_bytes())


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar that begins as a bundle's does, with these members after it."""
    manifest = manifest_of(FILES).to_json().encode()
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as writing:
        for info, data in ((member(MANIFEST, len(manifest)), manifest), *members):
            writing.addfile(info, io.BytesIO(data))
    return made.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = size, 0o644, kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


class TestRoundTrip:
    def test_what_is_packed_comes_back(self, packed, tmp_path) -> None:
        assert unpacked(packed, tmp_path / "out") == contents(tmp_path / "toy")

    def test_so_does_a_signature(self, tmp_path) -> None:
        put(write_bundle(tmp_path / "toy") / SIGNATURE, b"{}")
        pack(tmp_path / "toy", tmp_path / "toy.tar.zst")
        assert unpacked(tmp_path / "toy.tar.zst", tmp_path / "out")[SIGNATURE] == b"{}"

    def test_the_same_bundle_gives_the_same_bytes(self, packed, tmp_path) -> None:
        (tmp_path / "toy" / MANIFEST).touch()
        pack(tmp_path / "toy", tmp_path / "again.tar.zst")
        assert (tmp_path / "again.tar.zst").read_bytes() == packed.read_bytes()

    def test_other_programs_read_it(self, packed) -> None:
        with tarfile.open(fileobj=io.BytesIO(content(packed))) as reading:
            assert reading.getnames() == [MANIFEST, *sorted(FILES)]

    @settings(max_examples=30, deadline=None)
    @given(sizes=st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=6))
    def test_files_of_any_size_do(self, sizes, tmp_path_factory) -> None:
        folder = tmp_path_factory.mktemp("sizes")
        files = {f"engine/{place}.bin": (Role.ENGINE, bytes([place]) * size) for place, size in enumerate(sizes)}
        pack(write_bundle(folder / "toy", files), folder / "toy.tar.zst")
        assert unpacked(folder / "toy.tar.zst", folder / "out") == contents(folder / "toy")


FIRST = next(iter(sorted(FILES)))
CARD = FILES[FIRST][1]

HOSTILE: dict[str, tuple[tarfile.TarInfo, bytes, str]] = {
    "parent": (member("../card", 6), CARD, "no plain relative path"),
    "absolute": (member("/etc/card", 6), CARD, "no plain relative path"),
    "hidden": (member(".github/card", 6), CARD, "no plain relative path"),
    "symbolic link": (member(FIRST, kind=tarfile.SYMTYPE, linkname="/etc/passwd"), b"", "a symbolic link"),
    "hard link": (member(FIRST, kind=tarfile.LNKTYPE, linkname=MANIFEST), b"", "a hard link"),
    "FIFO": (member(FIRST, kind=tarfile.FIFOTYPE), b"", "a FIFO"),
    "device": (member(FIRST, kind=tarfile.CHRTYPE, devmajor=1), b"", "a character device"),
    "folder": (member("golden", kind=tarfile.DIRTYPE), b"", "a folder"),
    "case": (member(FIRST.lower(), 6), CARD, f"where {FIRST} is due"),
    "manifest twice": (member(MANIFEST, 6), CARD, f"where {FIRST} is due"),
    "unlisted": (member("extra", 6), CARD, f"where {FIRST} is due"),
    "larger": (member(FIRST, 7), CARD + b"!", "7 bytes"),
    "setuid": (member(FIRST, 6, mode=0o4755), CARD, "mode 4755"),
    "owner": (member(FIRST, 6, uid=1), CARD, "owner"),
    "time": (member(FIRST, 6, mtime=1), CARD, "owner"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_member_that_is_not_the_one_that_is_due_is_refused(name, tmp_path) -> None:
    info, data, words = HOSTILE[name]
    path = tmp_path / "toy.tar.zst"
    path.write_bytes(frame(tar((info, data))))
    with pytest.raises(IntegrityError, match=words):
        unpacked(path, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {MANIFEST}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extended_headers_are_refused(form, tmp_path) -> None:
    path = tmp_path / "toy.tar.zst"
    path.write_bytes(frame(tar((member("é" * 120, 6), CARD), form=form)))
    with pytest.raises(IntegrityError):
        unpacked(path, tmp_path / "out")


class TestFrame:
    def test_a_bomb_is_refused_by_its_ratio(self, tmp_path) -> None:
        path = tmp_path / "bomb.tar.zst"
        path.write_bytes(frame(bytes(80 << 20)))
        with pytest.raises(IntegrityError, match="100 times"):
            unpacked(path, tmp_path / "out")

    def test_so_is_one_that_does_not_say_its_length(self, packed, tmp_path) -> None:
        made = zstandard.ZstdCompressor(write_checksum=True).compressobj()
        packed.write_bytes(made.compress(content(packed)) + made.flush())
        with pytest.raises(IntegrityError, match="no length"):
            unpacked(packed, tmp_path / "out")

    def test_so_is_one_without_a_checksum(self, packed, tmp_path) -> None:
        packed.write_bytes(zstandard.ZstdCompressor(write_content_size=True).compress(content(packed)))
        with pytest.raises(IntegrityError, match="checksum"):
            unpacked(packed, tmp_path / "out")

    @pytest.mark.parametrize(
        "more", [b"\0", frame(b""), b"\x50\x2a\x4d\x18\x04\0\0\0note"], ids=["zero", "frame", "skippable"]
    )
    def test_nothing_follows_it(self, packed, tmp_path, more) -> None:
        packed.write_bytes(packed.read_bytes() + more)
        with pytest.raises(IntegrityError, match="after its end"):
            unpacked(packed, tmp_path / "out")

    def test_nothing_follows_the_last_file(self, packed, tmp_path) -> None:
        packed.write_bytes(frame(content(packed) + bytes(BLOCK)))
        with pytest.raises(IntegrityError, match="goes on"):
            unpacked(packed, tmp_path / "out")

    def test_nothing_lies_between_two_files(self, packed, tmp_path) -> None:
        data = bytearray(content(packed))
        at = data.index(CARD) + len(CARD)
        data[at] = 1
        packed.write_bytes(frame(bytes(data)))
        with pytest.raises(IntegrityError, match="between"):
            unpacked(packed, tmp_path / "out")

    def test_what_asks_for_a_lot_of_memory_is_refused(self, tmp_path) -> None:
        wide = zstandard.ZstdCompressionParameters(window_log=29, write_checksum=True, write_content_size=True)
        path = tmp_path / "toy.tar.zst"
        made = zstandard.ZstdCompressor(compression_params=wide).compressobj(size=(1 << 20) + 1)
        path.write_bytes(made.compress(bytes(range(256)) * 4096 + b"!") + made.flush())
        with pytest.raises(VisionDeployError):
            unpacked(path, tmp_path / "out")


NO_BUNDLES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello",
    "gzip": lambda: b"\x1f\x8b\x08\0\0\0\0\0",
    "zstd of no tar": lambda: frame(b"hello" * 300),
    "tar of something else": lambda: frame(tarfile.TarInfo("a").tobuf() + bytes(1024)),
}


@pytest.mark.parametrize("name", NO_BUNDLES)
def test_what_is_no_bundle_is_said_to_be_none(name, tmp_path) -> None:
    path = tmp_path / "toy.tar.zst"
    path.write_bytes(NO_BUNDLES[name]())
    with pytest.raises(InputError, match="expected a bundle"):
        unpacked(path, tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_bit_or_a_cut_is_refused(data, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("flip")
    pack(write_bundle(folder / "toy"), folder / "toy.tar.zst")
    whole = bytearray((folder / "toy.tar.zst").read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del whole[place:]
    (folder / "toy.tar.zst").write_bytes(whole)
    with pytest.raises((InputError, IntegrityError)):
        unpacked(folder / "toy.tar.zst", folder / "out")
