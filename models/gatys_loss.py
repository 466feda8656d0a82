"""What Gatys's optimisation minimises (`models/gatys.py`).

A picture x is sought that has the features of the photograph and the Gram matrices of the painting:

    L(x) = content_weight · content(x)/σ + style_weight · mean over layers l of style_l(x)/σ_l
           + variation_weight · variation(x)

of the distances d of `models/perceptual.py`, which are relative to the photograph's own features and to the painting's
own Gram matrices. That alone does not make layers equal: a change of the picture moves the features of a deep layer ten
times as far as those of the first one, so that strokes would be painted and colours forgotten. Therefore each distance
is divided by its slope σ = √P·‖∂√d/∂x‖, of a picture of P values: how far it moves for a change of the picture, RMS.
With it the gradient of each is 2·√d/√P, whatever the network, the layer and the pictures. Slopes are measured at each
scale, at the mean of photograph and painting, between which the result lies.

L-BFGS gets P·L: the gradient of a value, and with it the tolerances of torch.optim, which are absolute, then have the
same size for any picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from visiondeploy.errors import UsageError
from visiondeploy.models.features import FeatureNet
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.models.perceptual import content_loss, slope, style_grams, style_losses, total_variation

MARGIN = 16
"""Pixels that a picture is mirrored by on each side before a network sees it, and whose features are left out.

Networks put zeros around what they see, and answer to that edge: without a margin a dark frame with bright spots in it
is as good a way to the painting's Gram matrices as any.
"""


class GatysLoss:
    """The loss of a picture 1×3×H×W, as L-BFGS asks for it: with the gradient in `picture.grad`.

    It is asked twice for where the picture is, at the end of a line search and at the start of the next step, and
    computes once. `photo` has the picture's size, `painting` any. `terms` are the distances that were found last.
    """

    def __init__(
        self, net: FeatureNet, picture: Tensor, photo: Tensor, painting: Tensor, settings: GatysSettings
    ) -> None:
        content, style = settings.content_layers or net.content, settings.style_layers or net.style
        self.net, self.picture, self.settings = net, picture, settings
        self._layers = tuple(layer for layer in net.layers if layer in {*content, *style})
        self._grams = style_grams(self._seen, painting, style)
        with torch.no_grad():
            found = self._seen(photo, content)
        self._wanted = {layer: found[layer] for layer in content}
        self._content_slope, self._style_slopes = self._slopes(photo, painting)
        self._last: tuple[Tensor, Tensor] | None = None
        self.terms: dict[str, float] = {}

    def __call__(self) -> Tensor:
        """The loss, a scalar. Raises `UsageError` where it is no number."""
        if self._last is not None and torch.equal(self._last[0], self.picture):
            return self._last[1]
        content, style = self._distances(self.picture)
        variation = total_variation(self.picture)
        weights = self.settings
        weighted = [
            weights.content_weight * content / self._content_slope,
            *(weights.style_weight / len(style) * term / self._style_slopes[layer] for layer, term in style.items()),
            weights.variation_weight * variation,
        ]
        loss = self.picture.numel() * torch.stack(weighted).sum()
        (self.picture.grad,) = torch.autograd.grad(loss, self.picture)
        terms = {"content": content, "style": torch.stack(list(style.values())).mean(), "variation": variation}
        self.terms = {name: float(term.detach()) for name, term in terms.items()}
        self._last = self.picture.detach().clone(), loss.detach()
        if not math.isfinite(float(self._last[1])):
            raise UsageError(f"the loss is {float(self._last[1])} ({self.said()}): choose lower weights.")
        return self._last[1]

    def said(self) -> str:
        """The distances that were found last, in a few words."""
        return f"content {self.terms['content']:.3f} style {self.terms['style']:.4f}"

    def _seen(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """The features of images, as if they went on beyond their edges."""
        wider = F.pad(images, (MARGIN, MARGIN, MARGIN, MARGIN), mode="reflect")
        found = self.net(wider, layers)
        return {layer: _without_margin(features, wider.shape[2]) for layer, features in found.items()}

    def _distances(self, picture: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """To the photograph's content, and layer by layer to the painting's style."""
        found = self._seen(picture, self._layers)
        return content_loss(found, self._wanted), style_losses(found, self._grams)

    def _slopes(self, photo: Tensor, painting: Tensor) -> tuple[float, dict[str, float]]:
        """The slopes of the distances to content and, layer by layer, to style; see above."""
        size = (photo.shape[2], photo.shape[3])
        resized = F.interpolate(painting, size, mode="bilinear", antialias=True, align_corners=False)
        between = ((photo + resized) / 2).requires_grad_()
        content, style = self._distances(between)
        return slope(content, between), {layer: slope(distance, between) for layer, distance in style.items()}


def _without_margin(features: Tensor, height: int) -> Tensor:
    """The features inside the margin of images whose height with it is `height`."""
    edge = round(MARGIN * features.shape[2] / height)
    return features[:, :, edge : features.shape[2] - edge, edge : features.shape[3] - edge]
