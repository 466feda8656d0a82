"""What the tests of the store share."""

from collections.abc import Mapping
from pathlib import Path

from visiondeploy.pipeline.store import Json, Step, Store

STEP = Step("export", 1, {"network": "ab"}, {"opset": 20}, {"onnx": "1.21"})
META: dict[str, Json] = {"nodes": 7, "parity": {"max_abs": 1e-6}}
WEIGHTS = bytes(range(256)) * 400


def fill(folder: Path) -> Mapping[str, Json]:
    (folder / "model.onnx").write_bytes(WEIGHTS)
    (folder / "data").mkdir()
    (folder / "data" / "labels.txt").write_text("sky\nroad\n")
    return META


def never(folder: Path) -> Mapping[str, Json]:
    raise AssertionError("a hit must not make anything")


def flip(folder: Path) -> None:
    data = bytearray(WEIGHTS)
    data[1234] ^= 4
    (folder / "model.onnx").write_bytes(data)


def leftovers(store: Store) -> list[Path]:
    return list((store.root / "tmp").glob("*"))
