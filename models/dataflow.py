"""Which operands of a network's calls are in codes in its Q/DQ graph, found out from one run.

The rules are those of `calibration/placement.py` for the scheme `cpu`, for calls of torch in place of nodes of ONNX:
in codes is what a convolution reads and, going backwards, what the operators between convolutions read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

PRODUCTS: Mapping[Any, int] = {torch.conv2d: 0, torch.conv_transpose2d: 1}
"""Functions that are worth integers, with the axis of output channels of their weight, their second operand."""

CONCATS = (torch.cat, torch.concat, torch.concatenate)
"""Functions that take their operands as one list."""

_SUMS = (torch.add, torch.Tensor.add, torch.Tensor.add_)
WATCHED = (*PRODUCTS, *CONCATS, *_SUMS, F.avg_pool2d)
"""Functions whose operands may be rounded."""

_NORMS = (F.batch_norm, torch.batch_norm)
_CLIPS = (F.relu, F.relu6, F.hardtanh, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, torch.clamp)
_NO_VALUE_OF_THEIR_OWN = (F.max_pool2d, F.dropout, F.pixel_shuffle)
_FREE_NORMS = (F.instance_norm, F.group_norm, F.layer_norm)
_BY_ELEMENT = (torch.mul, torch.Tensor.mul, torch.sub, torch.Tensor.sub, torch.div, torch.Tensor.div)


@dataclass(eq=False)
class Call:
    """A call of a function, with the places of the operands that are rounded, in ascending order."""

    function: Callable[..., Any]
    rounded: tuple[int, ...] = ()


@dataclass(eq=False)
class _Node:
    """A call of any function in the run that is looked at, and the calls that made its operands."""

    call: Call
    operands: list[Any]
    makers: list[_Node | None]
    keywords: Mapping[str, Any]
    read: bool = field(default=False)
    readers: int = field(default=0)


def calls_of(network: nn.Module, size: tuple[int, int]) -> tuple[Call, ...]:
    """The watched calls of a network in their order, for an image 3×height×width of some `size`."""
    # On this device tensors have shapes and no memory.
    example = torch.zeros(1, 3, *size, device="meta")
    with torch.no_grad(), _Trace() as trace:
        copy.deepcopy(network).to("meta").eval()(example)
    for node in trace.nodes:
        if node.call.function in PRODUCTS and not _grouped_transposed(node):
            _round(node, (0,))
    return tuple(node.call for node in trace.nodes if node.call.function in WATCHED)


class _Trace(TorchFunctionMode):
    """Keeps every call that gives a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[_Node] = []
        self._made: dict[int, _Node] = {}
        # An object that is gone may leave its id to another.
        self._alive: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operands = list(args[0] if func in CONCATS else args)
        node = _Node(Call(func), operands, [self._made.get(id(operand)) for operand in operands], kwargs or {})
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            for maker in node.makers:
                if maker is not None:
                    maker.readers += 1
            self.nodes.append(node)
            self._made[id(found)] = node
            self._alive.append(found)
        return found


def _round(node: _Node, places: Sequence[int]) -> None:
    """Note that these operands of a call are rounded, and what follows from it for those that made them."""
    node.call.rounded = tuple(places)
    for place in places:
        _read_in_codes(node.makers[place])


def _read_in_codes(maker: _Node | None) -> None:
    """What a call reads where what it gives is rounded."""
    if maker is None or maker.read:
        return
    maker.read = True
    if maker.call.function in _CLIPS or _makes_no_value(maker):
        # A quantiser makes a clip superfluous, and a maximum of codes is a code.
        _read_in_codes(maker.makers[0])
    elif maker.call.function in WATCHED and maker.call.function not in PRODUCTS and not _takes_norm(maker):
        _round(maker, _in_codes(maker))


def _in_codes(node: _Node) -> tuple[int, ...]:
    """The operands in codes of a concat, sum or pooling."""
    tensors = tuple(place for place, operand in enumerate(node.operands) if isinstance(operand, Tensor))
    if node.call.function in _SUMS:
        # The sum is taken in the accumulator of a convolution.
        taken = next((place for place in tensors if _is_product(node.makers[place])), None)
        return tuple(place for place in tensors if place != taken)
    if node.call.function in CONCATS:
        return tuple(place for place in tensors if not _only_joined(node.makers[place]))
    return tensors


def _only_joined(branch: _Node | None) -> bool:
    """Whether a branch of a concat is what a convolution gives, and read by nobody else: rounded behind the concat."""
    if branch is None or branch.readers > 1:
        return False
    before = branch.makers[0] if branch.call.function in _CLIPS else None
    return _is_product(branch) or (before is not None and before.readers == 1 and _is_product(before))


def _makes_no_value(node: _Node) -> bool:
    """Whether what a call gives is among what it reads, or zero: of a nearest resize and of borders, too."""
    if node.call.function is F.interpolate:
        mode = node.keywords.get("mode", node.operands[3] if len(node.operands) > 3 else "nearest")
        return str(mode) == "nearest"
    if node.call.function is F.pad:
        # A border of zeros: zero is always a code.
        value = node.keywords.get("value", node.operands[3] if len(node.operands) > 3 else None)
        return not value
    return node.call.function in _NO_VALUE_OF_THEIR_OWN


def _takes_norm(node: _Node) -> bool:
    """Whether a call adds what a norm gives that is no part of a convolution, scaled and shifted by channel or not."""
    return node.call.function in _SUMS and any(_normalised(maker) for maker in node.makers)


def _normalised(node: _Node | None) -> bool:
    if node is None or node.call.function in _FREE_NORMS:
        return node is not None
    if node.call.function not in (*_SUMS, *_BY_ELEMENT):
        return False
    pairs = ((0, 1), (1, 0))
    return any(_by_channel(node.operands[factor]) and _normalised(node.makers[other]) for other, factor in pairs)


def _by_channel(operand: Any) -> bool:
    """Whether an operand has no more than a value for each image and channel."""
    return not isinstance(operand, Tensor) or all(side == 1 for side in operand.shape[2:])


def _is_product(node: _Node | None) -> bool:
    """Whether a call is a convolution, or the batch norm behind one, which is folded into it."""
    if node is not None and node.call.function in _NORMS:
        node = node.makers[0]
    return node is not None and node.call.function in PRODUCTS


def _grouped_transposed(node: _Node) -> bool:
    """Whether a call is a transposed convolution with groups, which stays in float."""
    groups = node.keywords.get("groups", node.operands[6] if len(node.operands) > 6 else 1)
    return node.call.function is torch.conv_transpose2d and groups != 1
