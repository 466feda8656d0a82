"""Whether the readers of what people hand over fall over: mutated manifests, recipes, data sets, archives and more.

Each reader gets mutations of good files: bits, bytes and lines changed, removed, doubled and moved, pieces of other
seeds put in, numbers and texts replaced by awkward ones. It may refuse with a typed error of `visiondeploy.errors` (the
store's description with `ValueError`, which its caller turns into a warning). Anything else that it raises is a fault,
and so is a reading that takes more than `SLOW` seconds of processor time.

Where atheris is installed, `--atheris` lets it choose the mutations by the lines of code that they reach.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from visiondeploy.benchmarks.environment import capture
from visiondeploy.errors import VisionDeployError
from visiondeploy.models.data.folder import FolderDataset
from visiondeploy.pipeline.artifact import Description, Step
from visiondeploy.pipeline.bundle.archive import unpack
from visiondeploy.pipeline.bundle.manifest import Manifest
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.pipeline.recipe import parse_recipe

SLOW = 5.0
AWKWARD = (
    *("0", "-1", "1e999", "-0.0", "9" * 400, "9" * 5000, "0x7fffffffffffffff", "1e-400", "nan", "inf", "NaN", "null"),
    *("true", "[]", "{}", '""', '"\\u0000"', '"\\ud800"', '"../../etc/passwd"', '"' + "a" * 2000 + '"', "[" * 300),
    *(
        "{a=" * 100,
        "1979-05-27",
        "'''",
        '"""',
        "\ufeff",
        "\u2028",
        "=",
        ".",
        "[[a]]",
        "[a.b.c]",
        "\\",
        "#",
        "é",
        "\x7f",
    ),
)


@dataclass(frozen=True)
class Target:
    """A reader, good files to begin with, and the errors that it may raise."""

    name: str
    seeds: Sequence[bytes]
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = (VisionDeployError,)


@dataclass
class Tally:
    """What came of a target's mutations."""

    executions: int = 0
    seconds: float = 0.0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)


def mutated(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """A seed after one to eight changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        CHANGES[rng.randrange(len(CHANGES))](data, seeds, rng)
    return bytes(data)


def _span(data: bytearray, rng: random.Random, longest: int = 64) -> slice:
    start = rng.randrange(len(data) + 1)
    return slice(start, min(len(data), start + rng.randrange(1, longest)))


def _flip(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _replace(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _remove(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    del data[_span(data, rng)]


def _cut(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _double(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    place = _span(data, rng)
    data[place.start : place.start] = data[place] * rng.choice((1, 2, 50))


def _splice(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    other = bytearray(rng.choice(seeds))
    data[_span(data, rng)] = other[_span(other, rng, 200)]


def _lines(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    """Lines in another order, twice, or of another seed."""
    lines = data.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines[first], lines[second] = lines[second], lines[first]
        case 1:
            lines.insert(second, lines[first])
        case 2:
            del lines[first]
        case _:
            lines.insert(first, bytearray(rng.choice(rng.choice(seeds).split(b"\n"))))
    data[:] = b"\n".join(lines)


def _value(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    """Another value after a '=' or ':', up to the end of the line or the comma."""
    signs = [place for place, byte in enumerate(data) if byte in b"=:"]
    if signs:
        start = rng.choice(signs) + 1
        ends = [end for end in (data.find(b"\n", start), data.find(b",", start)) if end >= 0]
        data[start : min(ends, default=len(data))] = b" " + rng.choice(AWKWARD).encode()


def _awkward(data: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    data[_span(data, rng, 4)] = rng.choice(AWKWARD).encode()


CHANGES = (_flip, _replace, _remove, _cut, _double, _splice, _lines, _value, _value, _awkward)


def targets(scratch: Path) -> tuple[Target, ...]:
    """The readers; those of files get them in `scratch`, which is best in memory."""
    return (
        Target("manifest", _manifests(), Manifest.from_json),
        Target("recipe", _recipes(), lambda data: parse_recipe(data.decode("utf-8", "surrogateescape"), "recipe")),
        Target("dataset.toml", _datasets(), _DatasetFolder(scratch / "dataset").read),
        Target("artifact.json", _artifacts(), Description.parse, (ValueError,)),
        Target("archive", _archives(scratch), _Archive(scratch / "toy.tar.zst").read),
    )


class _DatasetFolder:
    """A data set whose `dataset.toml` is written anew each time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "images" / "train").mkdir(parents=True)

    def read(self, data: bytes) -> object:
        (self._root / "dataset.toml").write_bytes(data)
        return FolderDataset(self._root).palette


class _Archive:
    """An archive that is written and unpacked each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, data: bytes) -> object:
        self._path.write_bytes(data)
        with tempfile.TemporaryDirectory(dir=self._path.parent) as folder:
            return unpack(self._path, Path(folder))


@cache
def _manifests() -> tuple[bytes, ...]:
    digest = 64 * "0"
    port = {"name": "image", "dtype": "uint8", "shape": [-1, 32, 32, 3], "layout": "NHWC", "low": 0, "high": 255}
    plain = {
        "schema": "visiondeploy.bundle/1",
        "name": "street-int8",
        "visiondeploy": "0.1.0",
        "engine": {
            **{"backend": "openvino", "precision": "int8", "folder": "triton/street-int8/1", "threads": 2},
            "realised": {"int8": 23},
        },
        "contract": {
            **{"task": "segmentation", "inputs": [port], "classes": ["sky", "road"], "ignore_index": 255},
            **{"outputs": [{**port, "name": "classes", "layout": "NHWC"}], "palette": [[0, 0, 0], [128, 0, 0]]},
            "preprocessing": {
                **{"height": 32, "width": 32, "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]},
                **{"resize": "bilinear", "done": True},
            },
        },
        "tolerances": {"agreement": 0.999},
        "target": {"kind": "cpu", "machine": "x86_64", "isa": ["avx2"], "runtimes": {"openvino": "2026.4.1"}},
        "verdict": {"status": "FAIL", "forced": True, "first": "miou"},
        "network": digest,
        "files": [
            {"path": path, "role": role, "sha256": digest, "size": size}
            for path, role, size in (
                ("golden/inputs.safetensors", "golden", 9),
                ("triton/street-int8/1/m", "engine", 0),
            )
        ],
    }
    return (Manifest.model_validate(plain).to_json().encode(), json.dumps(plain).encode())


@cache
def _recipes() -> tuple[bytes, ...]:
    folder = Path(__file__).resolve().parents[2] / "pipeline" / "recipes"
    found = tuple(path.read_bytes() for path in sorted(folder.glob("*.toml")))
    return (*found, *(parse_recipe(text.decode(), "recipe").to_toml().encode() for text in found))


def _datasets() -> tuple[bytes, ...]:
    return (
        b'name = "streets"\ntask = "segmentation"\nclasses = ["road", "car"]\nignore_index = 255\n',
        b'name = "a"\nclasses = ["road", "car"]\npalette = [[0, 0, 0], [128, 64, 128]]\nlicence = "CC0"\n',
    )


def _artifacts() -> tuple[bytes, ...]:
    step = Step("export", 1, {"network": "ab"}, {"opset": 20}, {"onnx": "1.21"})
    return (Description.of(step, "onnx", {}, {"nodes": 7, "parity": {"max_abs": 1e-6}}).serialise(),)


def _archives(scratch: Path) -> tuple[bytes, ...]:
    import hashlib

    from visiondeploy.pipeline.bundle.archive import pack

    folder = scratch / "toy"
    data = {"golden/inputs.safetensors": b"123456789", "triton/street-int8/1/m": bytes(2000)}
    content = json.loads(_manifests()[0])
    content["files"] = [
        {**entry, "sha256": hashlib.sha256(data[entry["path"]]).hexdigest(), "size": len(data[entry["path"]])}
        for entry in content["files"]
    ]
    for name, one in data.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(one)
    (folder / "manifest.json").write_bytes(Manifest.model_validate(content).to_json().encode())
    pack(folder, scratch / "seed.tar.zst")
    return ((scratch / "seed.tar.zst").read_bytes(),)


def execute(target: Target, data: bytes, tally: Tally) -> None:
    """Let a target read `data`, and note what came of it."""
    began = time.process_time()
    try:
        target.read(data)
        tally.accepted += 1
    except target.errors as error:
        tally.refused[type(error).__name__] += 1
    except Exception as error:  # what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:100]}"
        tally.faults.setdefault(place, repr(data[:2000]))
    if (took := time.process_time() - began) > SLOW:
        tally.faults.setdefault(f"took {took:.0f} s", repr(data[:2000]))
    tally.executions += 1


def fuzz(target: Target, executions: int, seed: int) -> Tally:
    """So many mutations of a target, the same for the same seed."""
    rng, tally = random.Random(f"{target.name}-{seed}"), Tally()
    began = time.monotonic()
    for data in target.seeds:
        execute(target, data, tally)
    while tally.executions < executions:
        execute(target, mutated(target.seeds, rng), tally)
    tally.seconds = time.monotonic() - began
    return tally


def guided(target: Target, executions: int, seed: int, corpus: Path) -> None:
    """Let atheris choose; it ends the process, with a traceback where a target raises what it may not."""
    import atheris

    for number, data in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(data)

    def read(data: bytes) -> None:
        try:
            target.read(data)
        except target.errors:
            return

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-runs={executions}", f"-seed={seed + 1}", "-max_len=8192", str(corpus)], read)
    atheris.Fuzz()


def document(tallies: dict[str, Tally], command: str) -> str:
    """The table, as Markdown."""
    rows = [
        f"| {name} | {t.executions:,} | {t.executions / max(t.seconds, 1e-9):,.0f} | {t.accepted:,} | "
        f"{', '.join(f'{error} {count:,}' for error, count in t.refused.most_common())} | {len(t.faults)} |"
        for name, t in tallies.items()
    ]
    faults = [f"- {name}: {fault}" for name, t in tallies.items() for fault in t.faults]
    here = capture(1)
    return f"""# Mutated files

| read | mutations | a second | accepted | refused with | faults |
| --- | ---: | ---: | ---: | --- | ---: |
{chr(10).join(rows)}

{sum(t.executions for t in tallies.values()):,} executions. {"No fault." if not faults else ""}

{chr(10).join([*faults, ""]) if faults else ""}{(__doc__ or "").partition(chr(10))[2].strip()}

Made by `{command}`; {here.cpu}, Python {here.python}.
"""


def main() -> None:
    """Run the fuzz and say what came out, as Markdown; exit code 1 where a fault was found."""
    parser = argparse.ArgumentParser(description="Mutated files for every reader.")
    parser.add_argument("--executions", type=int, default=10_000, help="of each reader (default: 10,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--target", action="append", help="only this reader; again for more")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage; needs atheris and one --target")
    parser.add_argument("-o", "--out", type=Path, default=Path("fuzz.md"), help="the table (default: fuzz.md)")
    arguments = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None) as name:
        chosen = [one for one in targets(Path(name)) if not arguments.target or one.name in arguments.target]
        if arguments.atheris:
            (Path(name) / "corpus").mkdir()
            guided(chosen[0], arguments.executions, arguments.seed, Path(name) / "corpus")
        tallies = {}
        for target in chosen:
            tallies[target.name] = fuzz(target, arguments.executions, arguments.seed)
            print(target.name, tallies[target.name], file=sys.stderr, flush=True)
    only = "".join(f" --target {one}" for one in arguments.target or ())
    command = f"python benchmarks/experiments/fuzz.py --executions {arguments.executions} --seed {arguments.seed}{only}"
    text = document(tallies, command)
    write_atomic(arguments.out, text)
    print(text)
    sys.exit(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    main()
