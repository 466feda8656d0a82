from __future__ import annotations

import pytest
import torch
from torchvision.models import segmentation

from visiondeploy.errors import UsageError
from visiondeploy.models.deeplabv3 import DeepLabV3, DeepLabV3Settings
from visiondeploy.models.table import check_batch, create

MILLIONS = {"mobilenet_v3_large": 11.02, "resnet50": 39.64}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize("backbone", MILLIONS)
def test_each_backbone_is_torchvisions_without_an_auxiliary_head(backbone) -> None:
    with torch.device("meta"):
        module = DeepLabV3(DeepLabV3Settings(backbone=backbone), classes=21)
    assert sum(parameter.numel() for parameter in module.parameters()) == pytest.approx(MILLIONS[backbone] * 1e6, 1e-3)


def test_state_dicts_of_torchvision_fit() -> None:
    with torch.device("meta"):
        theirs = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
        ours = DeepLabV3(DeepLabV3Settings(), classes=5)
    names = {name for name in theirs.state_dict() if not name.startswith("aux_classifier.")}
    assert set(ours.state_dict()) == names


@pytest.mark.parametrize("backbone", MILLIONS)
def test_each_backbone_gives_logits_at_the_inputs_size(backbone) -> None:
    module = create("deeplabv3", {"backbone": backbone}, classes=5).eval()
    with torch.inference_mode():
        assert module(torch.randn(1, 3, 33, 47)).shape == (1, 5, 33, 47)


def test_statistics_of_batch_norm_follow_a_training_of_hundreds_of_steps() -> None:
    module = create("deeplabv3", {}, classes=2)
    momenta = {layer.momentum for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_a_batch_of_one_is_refused_before_it_fails_in_training() -> None:
    with pytest.raises(UsageError, match=r"train.batch_size is 1, but network 'deeplabv3' trains with 2"):
        check_batch("deeplabv3", 1)
    module = create("deeplabv3", {}, classes=2).train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        module(torch.randn(1, 3, 32, 32))


def test_an_unknown_backbone_names_the_field() -> None:
    with pytest.raises(UsageError, match=r"model.options of network 'deeplabv3': backbone = 'vgg'"):
        create("deeplabv3", {"backbone": "vgg"}, classes=2)
