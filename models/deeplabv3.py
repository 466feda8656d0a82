"""DeepLabV3 (Chen et al. 2017, arXiv:1706.05587), torchvision's, as `torchvision.models.segmentation` builds it.

    backbone     MobileNetV3-Large (Howard et al. 2019, arXiv:1905.02244), the image shrunk by 16 at the end, or
                 ResNet-50 (He et al. 2016, arXiv:1512.03385), by 8: dilation takes the place of the last strides
    head         atrous spatial pyramid: 1×1, three dilated 3×3 and the mean of the whole image, joined to 256
                 channels; a 3×3 and a 1×1 convolution to the classes
    up           bilinear to the input's size

11.0 M parameters with MobileNetV3, 39.6 M with ResNet-50, for 21 classes. They have torchvision's names, so that its
state dicts fit, those of the auxiliary head aside.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import segmentation

from visiondeploy.types import Settings

_NETWORKS = {
    "mobilenet_v3_large": segmentation.deeplabv3_mobilenet_v3_large,
    "resnet50": segmentation.deeplabv3_resnet50,
}


class DeepLabV3Settings(Settings):
    """Options of `deeplabv3`."""

    backbone: Literal["mobilenet_v3_large", "resnet50"] = "mobilenet_v3_large"


class DeepLabV3(nn.Module):
    """N×3×H×W float to logits N×classes×H×W, for any H and W.

    In training N is 2 or more: the batch norm behind the mean of the whole image sees one value of each image.
    """

    def __init__(self, settings: DeepLabV3Settings, classes: int) -> None:
        super().__init__()
        # Its defaults would download a backbone that was trained on ImageNet.
        made = _NETWORKS[settings.backbone](weights=None, weights_backbone=None, num_classes=classes, aux_loss=False)
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm2d):
                # torchvision's MobileNetV3 has 0.01, for millions of steps: a training of hundreds would be judged
                # by statistics of its beginning.
                layer.momentum = 0.1
        self.backbone: nn.Module = made.backbone
        self.classifier: nn.Module = made.classifier

    def forward(self, image: Tensor) -> Tensor:
        """Logits, N×classes×H×W, at the input's own size."""
        logits: Tensor = self.classifier(self.backbone(image)["out"])
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


def build(settings: DeepLabV3Settings, classes: int) -> DeepLabV3:
    """A DeepLabV3 with random weights (torchvision's initialisation, from the global generator)."""
    return DeepLabV3(settings, classes)
