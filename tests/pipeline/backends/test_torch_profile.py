"""Traces of PyTorch's profiler, made up and real."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from visiondeploy.pipeline.backends.torch_profile import Operator, graph_times, module_times, read_trace


def span(name: str, start: float, duration: float, kind: str = "cpu_op", thread: int = 1, **arguments: object) -> dict:
    return {"ph": "X", "cat": kind, "name": name, "ts": start, "dur": duration, "tid": thread, "args": arguments}


def mark(name: str, start: float, duration: float) -> dict:
    return span(name, start, duration, "user_annotation")


class TestTrace:
    def test_the_outermost_operator_counts_in_the_innermost_module(self) -> None:
        events = [
            mark("visiondeploy.run", 0, 100),
            mark("visiondeploy.module:", 5, 90),
            mark("visiondeploy.module:stem", 10, 50),
            span("aten::conv2d", 20, 30, **{"Input type": ["Scalar", "float", "float"]}),
            span("aten::convolution", 21, 28, **{"Input type": ["float"]}),
            span("aten::cat", 70, 4, **{"Input type": ["TensorList"]}),
        ]
        assert read_trace(events[::-1]) == [
            [Operator("stem", "conv2d", "fp32", 0.03), Operator("", "cat", "", 0.004)],
        ]

    def test_what_is_outside_of_the_network_or_on_another_thread_does_not(self) -> None:
        events = [
            span("aten::ones", 0, 5),
            mark("visiondeploy.run", 10, 40),
            span("aten::to", 11, 2),
            span("forward", 15, 20),
            span("aten::relu", 16, 5),
            span("aten::relu", 17, 2, thread=2),
            span("aten::detach", 40, 2),
        ]
        assert [[operator.name for operator in run] for run in read_trace(events)] == [["relu"]]

    def test_of_two_that_begin_at_once_the_longer_is_outside(self) -> None:
        events = [
            mark("visiondeploy.run", 0, 9),
            mark("visiondeploy.module:a", 1, 5),
            span("aten::relu", 1, 4),
            span("aten::clamp_min", 1, 3),
        ]
        assert [operator.name for operator in read_trace(events)[0]] == ["relu"]


class Branching(nn.Module):
    """A convolution that is called twice, and another one only where the input is large."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(3, 3, 1)
        self.seldom = nn.Conv2d(3, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        found = self.twice(self.twice(image))
        if bool(found.sum() > 1e9):
            found = self.seldom(found)
        return torch.relu(found) + torch.relu(image)


@pytest.fixture
def image() -> Tensor:
    return torch.ones(1, 3, 8, 8)


def test_a_module_that_is_called_twice_is_one_layer(image) -> None:
    module = Branching().eval()
    with torch.inference_mode():
        layers = module_times(module, lambda: module(image), 2)
    names = [layer.name for layer in layers]
    assert names.count("twice") == 1
    assert {"relu", "relu.1"} <= set(names)
    assert "seldom" not in names


def test_hooks_are_gone_afterwards_also_after_an_error(image) -> None:
    module = Branching().eval()

    def fall() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        module_times(module, fall, 1)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_where_a_run_takes_one_branch_no_module_is_guessed(image) -> None:
    module = torch.jit.freeze(torch.jit.script(Branching().eval()))
    with torch.inference_mode():
        layers = graph_times(module.inlined_graph, lambda: module(image), 2)
    names = [layer.name for layer in layers]
    # Three convolutions in the graph, two in the run.
    assert {"conv2d", "conv2d.1"} <= set(names)
    assert not {"twice", "seldom"} & set(names)
