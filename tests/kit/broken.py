"""Engines of builds made wrong on purpose, with records that vouch for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from visiondeploy.pipeline.files import sha256_file
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
