"""EfficientNet-Lite0, against what was published."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from visiondeploy.models.efficientnet_lite import _same, lite0


def test_it_has_the_published_layers() -> None:
    net = lite0().eval()
    with torch.inference_mode():
        found = net(torch.rand(1, 3, 65, 97), net.layers)
    channels = (32, 16, 24, 40, 80, 112, 192, 320)
    # TensorFlow's "SAME" rounds up.
    sizes = ((33, 49), (33, 49), (17, 25), (9, 13), (5, 7), (5, 7), (3, 4), (3, 4))
    assert [tuple(layer.shape[1:]) for layer in found.values()] == [
        (wide, *size) for wide, size in zip(channels, sizes, strict=True)
    ]
    # 4.65 million with the head and the classifier, which are not in it.
    assert sum(parameter.numel() for parameter in net.parameters()) == 4_652_008 - 1280 * (320 + 2) - 1000 * 1281


def test_its_input_is_what_it_was_trained_with() -> None:
    net, seen = lite0().eval(), []
    net._conv_stem.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(torch.tensor([0.0, 127 / 255, 1.0]).expand(1, 1, 3, 3).expand(1, 3, 3, 3), ("stem",))
    assert torch.allclose(seen[0][0, 0, 1, 1:4], torch.tensor([-127 / 128, 0, 1]), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "first"),
    # The index of the input's row that the kernel's middle is on at the first output.
    [(8, 3, 2, 1), (9, 3, 2, 0), (8, 5, 2, 1), (9, 5, 2, 0), (8, 3, 1, 0), (8, 5, 1, 0)],
)
def test_padding_is_tensorflows(size: int, kernel: int, stride: int, first: int) -> None:
    middle = nn.Conv2d(1, 1, kernel, stride=stride, bias=False)
    nn.init.zeros_(middle.weight)
    with torch.no_grad():
        middle.weight[..., kernel // 2, kernel // 2] = 1
        rows = torch.arange(float(size)).view(1, 1, size, 1).expand(1, 1, size, size)
        found = _same(middle, rows)[0, 0, :, 0]
    assert found.tolist() == [*range(first, size, stride)]
