"""Hints: what two networks give on the way to their outputs, where the one is to be like the other (FitNets, Romero et
al. 2015, arXiv:1412.6550).

They are compared at the end of what is computed at one resolution, behind norm and activation. For a UNet of depth D
these are the D levels of the encoder, the bottom, and the D levels of the decoder.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

TRACED_AT = (512, 512)
"""The size of the image whose way through a network is looked at: at its lowest resolution it is more than a point."""


@dataclass(frozen=True, slots=True)
class _Given:
    """What a module gave in one call. `size` is the height and width of one tensor N×C×H×W, None for all else."""

    name: str
    size: tuple[int, int] | None
    weighted: bool
    """Whether it has weights of its own, beside those of its children."""


def hint_names(student: nn.Module, teacher: nn.Module) -> tuple[str, ...]:
    """The modules whose outputs are compared, in order of execution; none where the networks have too little in common.

    Of those that both networks have under one name, run once for an image and with which both give one tensor
    N×C×H×W of one resolution, the last one before the resolution changes. The end of the network, from the teacher's
    last module with weights on, is left out: it makes the logits. So are outputs of one position, as those of global
    pooling. Both networks are left as they are.
    """
    run = _run(teacher)
    last = max((place for place, given in enumerate(run) if given.weighted), default=0)
    taught, own = _sizes(run), _sizes(_run(student))
    shared = [given.name for given in run[:last] if given.name in taught and own.get(given.name) == taught[given.name]]
    return tuple(list(names)[-1] for _, names in itertools.groupby(shared, key=taught.__getitem__))


def _sizes(run: list[_Given]) -> dict[str, tuple[int, int]]:
    """Height and width of what may be compared, by name."""
    calls = Counter(given.name for given in run)
    return {given.name: given.size for given in run if given.size not in {None, (1, 1)} and calls[given.name] == 1}


def _run(module: nn.Module) -> list[_Given]:
    """What the modules inside a network give for one image, in the order in which they end."""
    run: list[_Given] = []

    def keep(name: str, weighted: bool) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            size = None
            if isinstance(output, Tensor) and output.ndim == 4:
                size = (output.shape[2], output.shape[3])
            run.append(_Given(name, size, weighted))

        return hook

    # On this device tensors have shapes, and neither memory nor work.
    traced = copy.deepcopy(module).to("meta").eval()
    for name, inner in traced.named_modules():
        if inner is not traced:
            inner.register_forward_hook(keep(name, any(True for _ in inner.parameters(recurse=False))))
    with torch.no_grad():
        traced(torch.zeros(1, 3, *TRACED_AT, device="meta"))
    return run


class Hints:
    """Catches what modules of a network give while a `with` block runs it; they need not know.

    The hooks are there within the block alone, so that nobody copies, averages, traces or stores them. They are on
    the inner modules: what is run may be the network itself or anything around it, as DistributedDataParallel.
    """

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        self._modules = {name: module.get_submodule(name) for name in names}
        self._hooks: list[RemovableHandle] = []
        self._caught: dict[str, Tensor] = {}

    def __enter__(self) -> Self:
        self._caught = {}
        self._hooks = [inner.register_forward_hook(self._keep(name)) for name, inner in self._modules.items()]
        return self

    def __exit__(self, *exc: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _keep(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        """A hook that keeps an output. It returns nothing: what a hook returns replaces the output."""

        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            self._caught[name] = output

        return hook

    def take(self) -> dict[str, Tensor]:
        """What was caught in the last run, by name in the order of the names; they are not kept here.

        A tensor that was changed in place after the module gave it, as by a ReLU, is what it was changed to. Raises
        `ValueError` where a module did not run.
        """
        caught, self._caught = self._caught, {}
        missing = [name for name in self._modules if name not in caught]
        if missing:
            raise ValueError(f"{missing[0]} did not run: what was run is not the network whose outputs are compared")
        return {name: caught[name] for name in self._modules}
