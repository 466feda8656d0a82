"""VGG's weights of others, against networks of theirs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models import vgg as theirs

from visiondeploy.models import vgg as ours

MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ours.IMAGENET)


@pytest.mark.parametrize(("depth", "letter"), [(16, "D"), (19, "E")])
def test_torchvisions_weights_give_torchvisions_features(depth: int, letter: str) -> None:
    torch.manual_seed(0)
    layers = theirs.make_layers(theirs.cfgs[letter]).eval()
    held = {f"features.{key}": value for key, value in layers.state_dict().items()}
    net = getattr(ours, f"vgg{depth}")()
    net.load_state_dict(getattr(ours, f"vgg{depth}_state")(held))
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        # The last of theirs is a pooling.
        expected = layers[:-1]((images - MEAN) / STD)
        found = net(images, net.layers[-1:])[net.layers[-1]]
    assert torch.allclose(found, expected, atol=1e-6)


def keras(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A 3×3 convolution with ReLU of H×W×in by its definition, as Keras has its kernels."""
    height, width, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    out = np.zeros((height, width, kernel.shape[3])) + bias
    for row in range(3):
        for column in range(3):
            out += padded[row : row + height, column : column + width] @ kernel[row, column]
    return np.maximum(out, 0)


def test_heds_weights_are_kerass_and_for_bgr() -> None:
    rng = np.random.default_rng(0)
    shapes = {"block1/layers/conv2d": (3, 3, 3, 64), "block1/layers/conv2d_1": (3, 3, 64, 64)}
    for block, count in enumerate(ours.CONVOLUTIONS[16], start=1):
        for number in range(count):
            shapes.setdefault(f"block{block}/layers/conv2d{f'_{number}' if number else ''}", (3, 3, 1, 1))
    held = {f"{path}/vars/0": rng.normal(size=shape) / 10 for path, shape in shapes.items()}
    held |= {f"{path}/vars/1": rng.normal(size=shape[3]) for path, shape in shapes.items()}

    state = ours.hed_state({path: torch.from_numpy(values).float() for path, values in held.items()})
    assert len(state) == 26
    net = ours.vgg16_hed()
    first = {key: value for key, value in state.items() if "relu1" in key}
    net.load_state_dict(first, strict=False)

    rgb = rng.uniform(size=(6, 8, 3))
    x = rgb[..., ::-1] * 255 - (104.007, 116.669, 122.679)
    for path in ("block1/layers/conv2d", "block1/layers/conv2d_1"):
        x = keras(x, held[f"{path}/vars/0"], held[f"{path}/vars/1"])
    with torch.inference_mode():
        found = net(torch.from_numpy(rgb.transpose(2, 0, 1)[None]).float(), ("relu1_2",))["relu1_2"][0]
    assert np.allclose(found.numpy().transpose(1, 2, 0), x, rtol=1e-4, atol=1e-2)


def test_a_tensor_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match=r"features\.0\.weight"):
        ours.vgg19_state({})
    with pytest.raises(KeyError, match="block1/layers/conv2d/vars/0"):
        ours.hed_state({})
