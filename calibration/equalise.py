"""Cross-layer equalisation: an fp32 graph that computes the same, with channels of like range between its layers.

Where y = f(W₁x + b₁) is read by W₂ alone, and f(s·x) = s·f(x) for every s > 0, then for any positive s by channel

    W₂·f(W₁x + b₁) = (W₂·S)·f(S⁻¹W₁x + S⁻¹b₁)        S = diag(s)

(Nagel et al. 2019, arXiv:1906.04721, section 4.1.) No image nor label is needed beyond the ranges that
calibration sees anyway, and the graph stays exact up to rounding.

In front of an instance norm any scale will do, and any mean: see `level.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from visiondeploy.calibration.codes import replace_constant
from visiondeploy.calibration.graph import CONVOLUTIONS, GraphIndex, attributes, copy_of
from visiondeploy.calibration.level import level, levels, tensors_to_level
from visiondeploy.calibration.statistics import TensorStatistics
from visiondeploy.errors import InputError
from visiondeploy.types import Array

HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool")
"""Operators with f(s·x) = s·f(x) for s > 0 by channel. Clip is none: its limits would have to scale by channel."""

SWEEPS = 20
TOLERANCE = 1e-3
"""The sweeps end when no scale differs from 1 by more than this."""

WORTHWHILE = 2.0
"""By what factor the power of the rounding error must fall for a tensor to be equalised, 3 dB.

What an activation gains its reader's weights lose, and the estimate counts the gain alone. On a UNet whose batch
norms keep channels alike, estimates are 1.1 to 1.8, and equalising costs 0.5 dB of the logits' SQNR at 8 bits.
"""

_SMALLEST = 2.0**-12  # of the tensor's range: what hardly moved in calibration may well move elsewhere


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two convolutions with nothing but homogeneous operators between, and the tensor that the second reads."""

    first: onnx.NodeProto
    tensor: str
    second: onnx.NodeProto


def tensors_to_equalise(model: onnx.ModelProto) -> tuple[str, ...]:
    """The tensors that `equalise` needs the statistics of."""
    return (*(pair.tensor for pair in _pairs(GraphIndex(model.graph))), *tensors_to_level(model))


def equalising_scales(model: onnx.ModelProto, statistics: Mapping[str, TensorStatistics]) -> dict[str, Array]:
    """By what to divide the channels of which tensor, float64 of C each, to make its rounding error markedly smaller.

    In front of an instance norm it is float64 of 2×C: by what, and what is taken away before.

    `model` has batch norm folded. With a range r of each channel of the activation and the
    largest weight w that reads it, the scale is s = √(r / w), after which both are √(r·w). The paper takes for
    r the range of W₁'s rows. Here those have scales of their own, by output channel, so that nothing is gained
    on them: it is the activation whose channels share one scale. (With the observed range in the place of the
    weights' the logits of a UNet have 1.0 dB more, whether its channels are alike or up to 64 times apart.)
    Channels that are always zero, or that no weight reads, keep their scale.

    Raises `InputError` where the statistics are of no value, or of one that is NaN or infinite.
    """
    index = GraphIndex(model.graph)
    pairs = _pairs(index)
    weights = {node.input[1]: _copy(index, node.input[1]) for pair in pairs for node in (pair.first, pair.second)}
    ranges = {pair.tensor: _channel_ranges(statistics[pair.tensor]) for pair in pairs}
    chosen = [pair for pair in pairs if _gain(pair.second, weights[pair.second.input[1]], ranges[pair.tensor])]
    scales = {pair.tensor: np.ones_like(ranges[pair.tensor]) for pair in chosen}
    for _ in range(SWEEPS):
        moved = 0.0
        for pair in chosen:
            scale = _scale(pair.second, weights[pair.second.input[1]], ranges[pair.tensor])
            ranges[pair.tensor] /= scale
            scales[pair.tensor] *= scale
            _rescale(pair, weights, scale)
            moved = max(moved, float(np.abs(scale - 1).max()))
        # A scale changes the rows of W₁, and with them the ranges that W₁'s own input is weighed against.
        if moved < TOLERANCE:
            break
    return {**scales, **levels(model, statistics)}


def equalise(model: onnx.ModelProto, scales: Mapping[str, Array]) -> onnx.ModelProto:
    """The graph with the channels of the tensors in `scales` divided by those: `model` itself where there are none.

    `model` is not changed. Raises `InputError` where a tensor is not one of `tensors_to_equalise` or has another number
    of channels.
    """
    if not scales:
        return model
    result = copy_of(model)
    index = GraphIndex(result.graph)
    factors = {tensor: scale for tensor, scale in scales.items() if scale.ndim == 1}
    pairs = _pairs_at(index, factors)
    constants: dict[str, Array] = {}
    for tensor, scale in factors.items():
        pair = pairs[tensor]
        bias = [pair.first.input[2]] if _has_bias(pair.first) else []
        for name in (pair.first.input[1], pair.second.input[1], *bias):
            constants.setdefault(name, _copy(index, name))
        channels = _channels(pair.first, constants[pair.first.input[1]])
        if scale.shape != (channels,):
            raise InputError(f"the tensor {tensor} has {channels} channels, not {scale.size} as the scales say.")
        _rescale(pair, constants, scale)
        for name in bias:
            constants[name] /= scale
    for name, value in constants.items():
        replace_constant(result.graph, name, value)
    level(result.graph, {tensor: found for tensor, found in scales.items() if tensor not in factors})
    return copy_of(result)


def scaled_tensors(model: onnx.ModelProto, scales: Mapping[str, Array]) -> dict[str, Array]:
    """By what the channels of which tensors are divided where `model` is equalised by `scales`, in graph order.

    Those in `scales`, and the ones that lie between the first convolution and them. Raises as `equalise`.
    """
    index = GraphIndex(model.graph)
    found: dict[str, Array] = {tensor: scale for tensor, scale in scales.items() if scale.ndim > 1}
    factors = {tensor: scale for tensor, scale in scales.items() if tensor not in found}
    for tensor, pair in _pairs_at(index, factors).items():
        passed = pair.first.output[0]
        found[passed] = scales[tensor]
        while passed != tensor:
            # `_pairs` has walked this way before.
            passed = index.readers(passed)[0].output[0]
            found[passed] = scales[tensor]
    return found


def _rescale(pair: _Pair, weights: Mapping[str, Array], scale: Array) -> None:
    """Divide the channels between a pair's convolutions, whose weights are written to."""
    _blocks(pair.first, weights[pair.first.input[1]])[...] /= _over_outputs(pair.first, scale)
    _blocks(pair.second, weights[pair.second.input[1]])[...] *= _over_inputs(pair.second, scale)


def _pairs_at(index: GraphIndex, scales: Mapping[str, Array]) -> dict[str, _Pair]:
    """The pairs by the tensor that the second reads, of those in `scales`. Raises `InputError` for another tensor."""
    pairs = {pair.tensor: pair for pair in _pairs(index)}
    if unknown := sorted(set(scales) - set(pairs)):
        raise InputError(f"the graph has no channels to scale at the tensor {unknown[0]}.")
    return {tensor: pair for tensor, pair in pairs.items() if tensor in scales}


def _pairs(index: GraphIndex) -> list[_Pair]:
    found = []
    for node in index.graph.node:
        if not _is_free(index, node):
            continue
        tensor = node.output[0]
        reader = index.only_reader(tensor)
        while reader is not None and reader.op_type in HOMOGENEOUS and reader.input[0] == tensor:
            tensor = reader.output[0]
            reader = index.only_reader(tensor)
        if reader is not None and reader.input[0] == tensor and _is_free(index, reader):
            found.append(_Pair(node, tensor, reader))
    return found


def _is_free(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Whether it is a convolution whose constants are its own, and no inputs of the graph that a user may set."""
    given = {value.name for value in index.graph.input}
    constants = [name for name in node.input[1:] if name]
    return node.op_type in CONVOLUTIONS and all(
        index.constant(name) is not None and index.only_reader(name) is not None and name not in given
        for name in constants
    )


def _has_bias(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _copy(index: GraphIndex, name: str) -> Array:
    """A constant that may be written to, float64 and contiguous."""
    return np.array(index.constant(name), dtype=np.float64, order="C")


def _channel_ranges(statistics: TensorStatistics) -> Array:
    """What an affine range would have to span for each channel by itself, float64 of C."""
    low, high = statistics.channel_extremes
    return np.asarray(np.maximum(high, 0.0) - np.minimum(low, 0.0), dtype=np.float64)


def _blocks(node: onnx.NodeProto, weight: Array) -> Array:
    """A view by group: group × out × in × kernel for Conv, group × in × out × kernel for ConvTranspose."""
    groups = attributes(node).get("group", 1)
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def _channels(node: onnx.NodeProto, weight: Array) -> int:
    """How many channels a convolution gives."""
    return int(weight.shape[0] if node.op_type == "Conv" else weight.shape[1] * attributes(node).get("group", 1))


def _over_outputs(node: onnx.NodeProto, scale: Array) -> Array:
    groups = attributes(node).get("group", 1)
    return scale.reshape((groups, -1, 1, 1) if node.op_type == "Conv" else (groups, 1, -1, 1))


def _over_inputs(node: onnx.NodeProto, scale: Array) -> Array:
    groups = attributes(node).get("group", 1)
    return scale.reshape((groups, 1, -1, 1) if node.op_type == "Conv" else (groups, -1, 1, 1))


def _by_input(node: onnx.NodeProto, blocks: Array) -> Array:
    """Blocks by the channel that they read: in × out of the same group × kernel."""
    if node.op_type == "Conv":
        blocks = blocks.swapaxes(1, 2)
    return blocks.reshape(-1, *blocks.shape[2:])


def _scale(second: onnx.NodeProto, weight: Array, ranges: Array) -> Array:
    """s by channel, 1 in the geometric mean of the channels that have one."""
    by_input = _by_input(second, _blocks(second, weight))
    largest = np.abs(by_input).max(axis=(1, 2))
    usable = (ranges > 0) & (largest > 0)
    if not usable.any():
        return np.ones_like(ranges)
    # Of a depthwise convolution each input has an output, and so a weight scale, to itself: it loses nothing.
    alone = second.op_type == "Conv" and by_input.shape[0] == attributes(second).get("group", 1)
    reach = np.maximum(ranges[usable], _SMALLEST * ranges.max())
    logs = np.log(reach) if alone else (np.log(reach) - np.log(largest[usable])) / 2
    scale = np.ones_like(ranges)
    scale[usable] = np.exp(logs - logs.mean())
    return scale


def _gain(second: onnx.NodeProto, weight: Array, ranges: Array) -> bool:
    """Whether scaling makes the activation's rounding error, as it arrives behind `second`, small enough.

    The step is that of the widest channel; its error passes through the weights, each row of which is taken
    relative to its largest: rows have scales of their own, and a layer further on may well make up for them.
    """
    scale = _scale(second, weight, ranges)
    blocks = np.abs(_blocks(second, weight))
    rows = blocks.max(axis=(2, 3) if second.op_type == "Conv" else (1, 3), keepdims=True)
    energy = _by_input(second, blocks / np.where(rows > 0, rows, 1.0)) ** 2
    energy = energy.sum(axis=(1, 2))
    before = ranges.max() ** 2 * energy.sum()
    after = (ranges / scale).max() ** 2 * (energy * scale**2).sum()
    return bool(before > WORTHWHILE * after)
