"""A small folder data set, and PNG files that no writer would make."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

CLASSES = ("sky", "road", "tree")
TOML = (
    'name = "toy"\ntask = "segmentation"\nclasses = ["sky", "road", "tree"]\nignore_index = 255\nlicence = "CC0-1.0"\n'
)


def write_folder(root: Path, size: tuple[int, int] = (12, 16), **images: int) -> Path:
    """A folder data set with so many images in each split; three in train and two in val where none is named."""
    generator = np.random.default_rng(0)
    for split, count in (images or {"train": 3, "val": 2}).items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
            mask = generator.choice(np.array([0, 1, 2, 255], dtype=np.uint8), size)
            suffix = "png" if index % 2 else "jpg"
            Pillow.fromarray(image).save(root / "images" / split / f"scene {index}.{suffix}")
            Pillow.fromarray(mask).save(root / "masks" / split / f"scene {index}.png")
    (root / "dataset.toml").write_text(TOML, encoding="utf-8")
    return root


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG of raw rows, each after its filter byte; the header may promise more than the rows hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shared_data(name: str) -> Path:
    """A folder of the data that lies beside the project; skips the test where it is not."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("VISIONDEPLOY_DATA", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here; VISIONDEPLOY_DATA can name the folder above it")
    return folder


def write_pictures(root: Path, count: int) -> Path:
    """A folder with pictures "0.png", "1.png" … of one grey each."""
    root.mkdir(parents=True)
    for number in range(count):
        Pillow.fromarray(np.full((4, 6, 3), 10 * number, np.uint8)).save(root / f"{number}.png")
    return root
