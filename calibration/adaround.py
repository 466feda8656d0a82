"""AdaRound: each weight of a quantised convolution rounded up or down as its layer's output asks for.

Rounding to nearest makes the error of each weight small, not that of a sum over many. Here the sum counts
(Nagel et al. 2020, arXiv:2004.10568): with s the scale, h(V) = clip(σ(V)·(ζ − γ) + γ, 0, 1) and W̃ = s·(⌊W/s⌋ + h(V)),

    minimise  ‖y − W̃x̂ − b‖² + λ·Σ (1 − |2h(V) − 1|^β)

over V, where x̂ is the layer's input in the quantised graph and y its output in the float graph, both from a few
images without labels. β falls from 20 to 2, so that h may move freely at first and is 0 or 1 in the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from visiondeploy.calibration.codes import Codes, codes_of, convolutions_of, replace_constant
from visiondeploy.calibration.graph import GraphIndex, copy_of
from visiondeploy.calibration.patches import Patches, patches_of
from visiondeploy.calibration.probe import Probe
from visiondeploy.errors import InputError
from visiondeploy.types import Array

STRETCH = (-0.1, 1.1)
"""γ and ζ of the rectified sigmoid (the paper's)."""

BETA = (20.0, 2.0)
WARM_UP = 0.2
"""The share of the iterations before the regulariser begins (the paper's)."""

LAMBDA = 1.0
"""Of the mean over a layer's weights, against its error relative to the output's power.

The paper's 0.01 is of other units. As little here leaves h between 0 and 1, and the last step, which makes it
either, undoes the fit: with 4-bit weights the logits of a UNet had 24.4 dB with 0.01 and 27.9 dB with 1.
"""

LEARNING_RATE = 1e-2
"""Ten times the paper's, for a tenth of its iterations."""

BATCH = 256
HELD_OUT = 0.25
"""The share of the positions that a layer is judged by and not fitted to."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """The Q/DQ graph with other codes.

    `errors` has, by convolution, the mean squared error of its output at held-out positions relative to the
    output's mean square: rounded to nearest, and as it is now. Where fitting did not help they are the same.
    """

    model: onnx.ModelProto
    errors: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution of the Q/DQ graph, what it has in the float graph, and where its outputs are sampled."""

    node: onnx.NodeProto
    target: str
    codes: Codes
    weight: Array
    bias: Array
    patches: Patches


def adaround(
    fp32: onnx.ModelProto,
    quantised: onnx.ModelProto,
    samples: Collection[Mapping[str, Array]],
    threads: int,
    *,
    positions: int = 2048,
    iterations: int = 1000,
    seed: int = 0,
) -> Rounded:
    """Round the weights of a Q/DQ graph made from `fp32`, whose convolutions have the same names in both.

    `samples` is read once for each layer; neither model is changed. Of every layer `positions` outputs over all
    samples are drawn; memory is that of one layer's. Layers are fitted one by one from the input to the output, and
    each makes up for the error that it is handed. (Fitted at once to inputs that their predecessors' rounding then
    changes, they make up for it twice: the logits of a UNet fell from 38 to 32 dB. With float inputs on both sides
    they gained 0.2 dB less than one by one.)
    Codes stay within those that the tensor has already: 7-bit weights stay 7-bit.

    Biases are not changed, and are best left so: correcting them afterwards cost 0.1 dB with 8-bit weights and
    0.4 dB with 4-bit ones, since the layers have made up for each other's means.

    Raises `InputError` where there is no sample.
    """
    import torch

    if not samples:
        raise InputError("there is no sample to round weights with: give a list of at least one image's feeds.")
    result = copy_of(quantised)
    errors: dict[str, tuple[float, float]] = {}
    generator = np.random.default_rng(seed)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for layer in _layers(fp32, result):
            collected = _collect(fp32, result, layer, samples, threads, -(-positions // len(samples)), generator)
            codes, errors[layer.node.name] = _round(layer, *collected, iterations, seed)
            replace_constant(result.graph, layer.codes.name, codes)
    finally:
        torch.set_num_threads(before)
    return Rounded(result, errors)


def _layers(fp32: onnx.ModelProto, quantised: onnx.ModelProto) -> list[_Layer]:
    float_index, index = GraphIndex(fp32.graph), GraphIndex(quantised.graph)
    found = []
    for ours, theirs in convolutions_of(fp32, quantised):
        codes, weight = codes_of(index, theirs.input[1]), float_index.constant(ours.input[1])
        patches = patches_of(theirs, weight.shape) if weight is not None else None
        if codes is None or weight is None or patches is None or index.only_reader(theirs.input[1]) is None:
            continue
        bias: Array | None = np.zeros(patches.outputs)
        if len(theirs.input) > 2 and theirs.input[2]:
            its = codes_of(index, theirs.input[2])
            bias = its.value if its else index.constant(theirs.input[2])
        if bias is not None:
            found.append(_Layer(theirs, ours.output[0], codes, weight.astype(np.float64), bias, patches))
    return found


def _collect(
    fp32: onnx.ModelProto,
    quantised: onnx.ModelProto,
    layer: _Layer,
    samples: Iterable[Mapping[str, Array]],
    threads: int,
    each: int,
    generator: np.random.Generator,
) -> tuple[Array, Array]:
    """Inputs, float32 of positions × groups × (in·kernel), and outputs, positions × groups × out, of a layer."""
    source = layer.node.input[0]
    reference, candidate = Probe(fp32, [layer.target], threads), Probe(quantised, [source], threads)
    inputs, outputs = [], []
    for feeds in samples:
        target = reference(feeds)[layer.target]
        at = [generator.integers(0, side, each) for side in (target.shape[0], *target.shape[2:])]
        inputs.append(layer.patches.inputs_at(candidate(feeds)[source], at))
        outputs.append(np.moveaxis(target, 1, -1)[tuple(at)].reshape(each, layer.patches.groups, -1))
    return np.concatenate(inputs), np.concatenate(outputs)


def _round(
    layer: _Layer, inputs: Array, outputs: Array, iterations: int, seed: int
) -> tuple[Array, tuple[float, float]]:
    """The codes, in the shape of the weight, and the relative errors before and after."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(inputs), generator=generator)
    held = max(1, int(HELD_OUT * len(inputs)))
    # Groups of channels first, for a product of matrices by group: x is group × positions × (in·kernel).
    x, y = (torch.from_numpy(np.ascontiguousarray(a)).transpose(0, 1)[:, order] for a in (inputs, outputs))
    y = y - torch.from_numpy(layer.bias.reshape(layer.patches.groups, 1, -1)).float()
    matrix = layer.patches.matrix
    scale = np.broadcast_to(layer.codes.scale, layer.weight.shape)
    exact = layer.weight / scale
    limit = float(np.abs(layer.codes.codes.astype(np.int64)).max())
    low = torch.from_numpy(matrix(np.floor(exact))).float()
    steps = torch.from_numpy(matrix(scale).copy()).float()
    rest = torch.from_numpy(matrix(exact - np.floor(exact))).float()
    gamma, zeta = STRETCH
    # σ(V)·(ζ − γ) + γ = rest, so that fitting begins with the weights as they are in float.
    variable = torch.logit((rest - gamma) / (zeta - gamma)).requires_grad_()
    optimiser = torch.optim.Adam([variable], lr=LEARNING_RATE)
    # Relative to the output's power, so that λ means the same for every layer.
    power = float(y[:, held:].square().mean()) or 1.0
    for step in range(iterations):
        h = torch.clamp(torch.sigmoid(variable) * (zeta - gamma) + gamma, 0, 1)
        batch = torch.randint(held, len(inputs), (min(BATCH, len(inputs)),), generator=generator)
        made = x[:, batch] @ (torch.clamp(low + h, -limit, limit) * steps).transpose(1, 2)
        loss = (made - y[:, batch]).square().mean() / power
        done = (step / iterations - WARM_UP) / (1 - WARM_UP)
        if done >= 0:
            beta = BETA[1] + (BETA[0] - BETA[1]) * (1 - done)
            loss = loss + LAMBDA * (1 - (2 * h - 1).abs().pow(beta)).sum() / layer.weight.size
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def error(codes: torch.Tensor) -> float:
        made = x[:, :held] @ (codes * steps).transpose(1, 2)
        return float((made - y[:, :held]).square().mean()) / power

    nearest = torch.from_numpy(matrix(layer.codes.codes).copy()).float()
    fitted = torch.clamp(low + (variable.detach() >= 0), -limit, limit)
    before, after = error(nearest), error(fitted)
    # Neither NaN nor a fit that does not carry over to other positions is better than what was there.
    if not after < before:
        return layer.codes.codes, (before, before)
    return layer.patches.weight(fitted.numpy()).astype(layer.codes.codes.dtype), (before, after)
