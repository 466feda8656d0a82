"""What the gate says of engines that were broken on purpose, beside the same engines when they are whole.

Three faults that peers ship: images that are normalised twice, the scale of one layer's weights off by four, half the
threads. Each breaks a copy of a build, with a record that vouches for the broken file, so that nothing but the
measurement can tell. What is shown is the exit code and the first line of `deploy bench … --gate SUITE`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.report import cells
from visiondeploy.pipeline.files import sha256_file, write_atomic
from visiondeploy.pipeline.folder import BUILD

Change = Callable[[onnx.ModelProto], None]


def rewrite(build: Path, place: str, change: Change) -> None:
    """Change the ONNX file in a folder of a build, and its digest in the record."""
    path = build / place / "model.onnx"
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    record = json.loads((build / BUILD).read_text(encoding="utf-8"))
    record["build"]["files"][f"{place}/model.onnx"] = sha256_file(path)
    (build / BUILD).write_text(json.dumps(record), encoding="utf-8")


def normalised_twice(model: onnx.ModelProto) -> None:
    """Put ImageNet's normalisation before the first layer of a network that is fed normalised images already."""
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["normalised" if each == name else each for each in node.input]
    shape = (1, 3, 1, 1)
    constants = {
        "mean": np.array((0.485, 0.456, 0.406), np.float32).reshape(shape),
        "std": np.array((0.229, 0.224, 0.225), np.float32).reshape(shape),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
    before = [
        helper.make_node("Sub", [name, "mean"], ["centred"], name="centre"),
        helper.make_node("Div", ["centred", "std"], ["normalised"], name="scale"),
    ]
    nodes = [*before, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def scale_off(layer: int, factor: float = 4.0) -> Change:
    """Multiply the scale of the weights of one convolution of a Q/DQ graph."""

    def change(model: onnx.ModelProto) -> None:
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        made_by = {output: node for node in model.graph.node for output in node.output}
        scale = made_by[convolutions[layer].input[1]].input[1]
        tensor = next(each for each in model.graph.initializer if each.name == scale)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), scale))

    return change


@dataclass(frozen=True, slots=True)
class Gated:
    """What a call of the gate came to."""

    what: str
    code: int
    first: str
    checks: int


def gated(what: str, builds: Sequence[Path], suite: str, out: Path, more: Sequence[str]) -> Gated:
    """Measure builds and judge them; the first line is what a job's log shows first."""
    command = ["deploy", "bench", *map(str, builds), "--gate", suite, "--allow-inconclusive", "-o", str(out), *more]
    program = Path(sys.executable).with_name("deploy")
    done = subprocess.run([str(program), *command[1:]], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if not lines:
        sys.exit(done.stderr or f"{' '.join(command)} said nothing")
    checks = json.loads((out / "report.json").read_text(encoding="utf-8"))["verdict"]["checks"]
    print(f"{what}: exit {done.returncode}: {lines[0]}", file=sys.stderr, flush=True)
    return Gated(what, done.returncode, lines[0], len(checks))


def copy_of(build: Path, name: str, scratch: Path) -> Path:
    """A copy that may be broken."""
    target = scratch / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(build, target)
    return target


def main() -> None:
    """Run the gate on sound and on broken builds and write the table, as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--float", dest="fp32", type=Path, required=True, help="a build in fp32 with onnxruntime")
    parser.add_argument("--int8", type=Path, required=True, help="a build in int8 of the same network")
    parser.add_argument("--sound", type=Path, action="append", default=[], help="more builds for the sound run")
    parser.add_argument("--suite", default="camvid")
    parser.add_argument("--layer", type=int, default=3, help="number of the convolution whose scale is off")
    parser.add_argument("--images", type=int, default=16, help="for the broken ones; the sound ones get all")
    parser.add_argument("--seconds", type=float, default=20, help="for the broken ones")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for copies and reports")
    parser.add_argument("-o", "--out", type=Path, default=Path("broken.md"))
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    quick = ["--images", str(options.images), "--seconds", str(options.seconds)]

    def run(what: str, name: str, builds: Sequence[Path], more: Sequence[str] = ()) -> Gated:
        return gated(what, builds, options.suite, options.scratch / f"bench-{name}", more)

    twice = copy_of(options.fp32, "normalised-twice", options.scratch)
    rewrite(twice, "engines/onnxruntime", normalised_twice)
    off = copy_of(options.int8, "scale-off", options.scratch)
    rewrite(off, "engines/onnxruntime", scale_off(options.layer))
    found = [
        run("sound", "sound", [options.fp32, options.int8, *options.sound]),
        run("images normalised twice", "twice", [twice, options.int8], quick),
        run("one layer's scale off by 4", "off", [options.fp32, off], quick),
        run("half the threads", "half", [options.fp32, options.int8], [*quick, "--threads", "1"]),
    ]
    rows = [f"| {one.what} | {one.code} | {one.checks} | {one.first.replace('|', chr(92) + '|')} |" for one in found]
    title, _, about = (__doc__ or "").partition("\n\n")
    text = f"""# {title}

{about.strip()}

{cells.machine(capture(2))}

| engines | exit | checks | first line |
| :--- | ---: | ---: | :--- |
{chr(10).join(rows)}

```sh
python benchmarks/experiments/broken.py --float BUILD-fp32 --int8 BUILD-int8 --scratch FOLDER
```
"""
    write_atomic(options.out, text)
    print(text)


if __name__ == "__main__":
    main()
