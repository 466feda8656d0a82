"""The time of each layer of a PyTorch or TorchScript network, as PyTorch's own profiler has it (`torch.profiler`).

The profiler writes every operator with what it calls in turn, as nested spans. What counts is the outermost operator;
of eager modules the span around it says whose it is, in TorchScript its place in the frozen graph does.

What it costs: a record of each operator and of all that it calls, and of eager modules the Python of two hooks.
Operators that do little look dearer than they are beside those that compute for milliseconds.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visiondeploy.pipeline.backends.inside import WARMUPS, LayerTime

if TYPE_CHECKING:
    from torch import nn

COMPUTE = {
    "float": "fp32",
    "double": "fp64",
    "c10::Half": "fp16",
    "c10::BFloat16": "bf16",
    "unsigned char": "uint8",
    "signed char": "int8",
    "int": "int32",
    "long int": "int64",
}
"""What the profiler calls the types of tensors; what is in no tensor ("Scalar") is not here."""

_RUN, _MODULE = "visiondeploy.run", "visiondeploy.module:"
_WEIGHT = re.compile(r"^self\.(?P<module>.+)\.weight(?:_fused_bn)?(?:\.\d+)?$")
"""What freezing calls a constant that was the weight of a module."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One outermost operator of a run: the path of the module that called it, its name, what it read, how long."""

    module: str
    name: str
    compute: str
    milliseconds: float


def module_times(module: nn.Module, call: Callable[[], object], runs: int, prefix: str = "") -> tuple[LayerTime, ...]:
    """The layers of an eager network that `call` runs, in order; paths of its modules lose `prefix`.

    A module without modules in it is a layer, with all its operators; else each operator is one, named after the
    module whose `forward` calls it, or after nothing in the outermost one: "decoder/cat".
    """
    leaves = {
        path.removeprefix(prefix): type(part).__name__
        for path, part in module.named_modules()
        if path and not list(part.children())
    }

    def layer(operator: Operator, seen: Counter[str]) -> tuple[str, str]:
        if operator.module in leaves:
            return operator.module, leaves[operator.module]
        return _numbered(f"{operator.module}/{operator.name}".lstrip("/"), seen), operator.name

    with _named(module, prefix):
        return _layers(_operators(call, runs), layer)


def graph_times(graph: Any, call: Callable[[], object], runs: int) -> tuple[LayerTime, ...]:
    """The operators of a frozen TorchScript graph that `call` runs, in order.

    One with a weight has the path of its module, unless control flow makes a run execute others than the graph has;
    of the rest the first is "relu", the next "relu.1".
    """
    modules = weighted(graph)
    found = _operators(call, runs)
    executed = Counter(operator.name for operator in found[0])
    known = {name: paths for name, paths in modules.items() if len(paths) == executed[name]}
    places: Counter[str] = Counter()

    def layer(operator: Operator, seen: Counter[str]) -> tuple[str, str]:
        if not seen:
            places.clear()
        place = places[operator.name]
        places[operator.name] += 1
        path = known[operator.name][place] if operator.name in known else None
        return (path or _numbered(operator.name, seen)), operator.name

    return _layers(found, layer)


def weighted(graph: Any) -> dict[str, list[str | None]]:
    """For each kind of operator of a frozen graph the modules that its nodes, in order, have the weights of."""
    found: dict[str, list[str | None]] = {}
    for node in _nodes(graph):
        names = [_WEIGHT.match(value.debugName()) for value in node.inputs()]
        path = next((match["module"] for match in names if match), None)
        found.setdefault(node.kind().removeprefix("aten::"), []).append(path)
    return found


def _nodes(block: Any) -> Iterator[Any]:
    """The operators of a graph, also those within branches and loops."""
    for node in block.nodes():
        if node.kind().startswith("aten::"):
            yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _numbered(name: str, seen: Counter[str]) -> str:
    number = seen[name]
    return f"{name}.{number}" if number else name


def _layers(
    runs: Sequence[Sequence[Operator]], layer: Callable[[Operator, Counter[str]], tuple[str, str]]
) -> tuple[LayerTime, ...]:
    """The operators of all runs as layers, each with the median of its times; `layer` gives name and kind."""
    times: dict[str, list[float]] = {}
    about: dict[str, tuple[str, str]] = {}
    for number, run in enumerate(runs):
        seen: Counter[str] = Counter()
        own: dict[str, float] = {}
        for operator in run:
            name, kind = layer(operator, seen)
            seen[f"{operator.module}/{operator.name}".lstrip("/")] += 1
            own[name] = own.get(name, 0.0) + operator.milliseconds
            about.setdefault(name, (kind, operator.compute))
        for name, milliseconds in own.items():
            # One that an earlier run did not have took no time there.
            times.setdefault(name, [0.0] * number).append(milliseconds)
    return tuple(LayerTime(name, *about[name], float(np.median(each))) for name, each in times.items())


@contextmanager
def _named(module: nn.Module, prefix: str) -> Iterator[None]:
    """With a span around each call of each module of an eager network."""
    from torch.profiler import record_function

    spans: list[Any] = []

    def enter(path: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            spans.append(record_function(_MODULE + path))
            spans[-1].__enter__()

        return hook

    def leave(*_: object) -> None:
        spans.pop().__exit__(None, None, None)

    handles = []
    for path, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(enter(path.removeprefix(prefix))))
        handles.append(part.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _operators(call: Callable[[], object], runs: int) -> list[list[Operator]]:
    """What each of `runs` calls executes, in order, after some that are not counted."""
    from torch.profiler import ProfilerActivity, profile, record_function

    for _ in range(WARMUPS):
        call()
    with _quiet(), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(runs):
            with record_function(_RUN):
                call()
    with tempfile.TemporaryDirectory(prefix="visiondeploy-") as temporary:
        trace = Path(temporary) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    return read_trace(events)


def read_trace(events: Sequence[Mapping[str, Any]]) -> list[list[Operator]]:
    """The outermost operators of each run in the events of a trace, which are spans in microseconds.

    What is outside of the network's own `forward`, such as a conversion to NumPy, is left out.
    """
    spans = [event for event in events if event.get("ph") == "X" and event.get("cat") in {"cpu_op", "user_annotation"}]
    thread = next(event["tid"] for event in spans if event["name"] == _RUN)
    # A span begins no later than those in it; of two that begin at once the longer one is outside.
    ordered = sorted((event for event in spans if event["tid"] == thread), key=lambda one: (one["ts"], -one["dur"]))
    found: list[list[Operator]] = []
    around: list[Mapping[str, Any]] = []
    for event in ordered:
        while around and around[-1]["ts"] + around[-1]["dur"] <= event["ts"]:
            around.pop()
        if event["name"] == _RUN:
            found.append([])
        elif _is_operator(event) and any(map(_is_method, around)) and not any(map(_is_operator, around)):
            module = next((one["name"] for one in reversed(around) if one["name"].startswith(_MODULE)), _MODULE)
            kinds = (COMPUTE.get(kind) for kind in event["args"].get("Input type", ()))
            found[-1].append(
                Operator(
                    module.removeprefix(_MODULE),
                    event["name"].partition("::")[2],
                    next((kind for kind in kinds if kind), ""),
                    event["dur"] / 1000,
                )
            )
        around.append(event)
    return found


def _is_operator(event: Mapping[str, Any]) -> bool:
    """Whether a span is an operator's ("aten::relu") and not that of a whole method ("forward")."""
    return event["cat"] == "cpu_op" and "::" in event["name"]


def _is_method(event: Mapping[str, Any]) -> bool:
    """Whether a span is that of a module: of an eager one by our hooks, of TorchScript by its interpreter."""
    return str(event["name"]).startswith(_MODULE) or (event["cat"] == "cpu_op" and "::" not in event["name"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the profiler's own log, which goes to stderr past Python."""
    name, level = "KINETO_LOG_LEVEL", "99"
    before = os.environ.get(name)
    os.environ.setdefault(name, level)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
