"""Many styles in one network (Dumoulin, Shlens and Kudlur 2017, arXiv:1610.07629): `style` with conditional norms.

All weights are shared but a scale and a shift for each style and channel behind each instance norm: 3,200 numbers a
style at width 32 and 5 blocks. A second input blends them, and so the styles.
"""

from __future__ import annotations

from torch import Tensor

from visiondeploy.models.style_net import StyleNet, TransformSettings


class StyleMultiSettings(TransformSettings):
    """Options of `style-multi`; its norms are instance norms."""


class StyleMulti(StyleNet):
    """N×3×H×W float, normalised, and weights N×styles to a picture N×3×H×W in 0 … 1, for any H and W from 16 on."""

    def __init__(self, settings: StyleMultiSettings, styles: int) -> None:
        super().__init__(settings, "instance", styles)
        self.styles = styles

    def forward(self, image: Tensor, weights: Tensor | None = None) -> Tensor:
        """The picture in the styles' blend, whose weights sum to 1 in each row; without them in all alike."""
        if weights is None:
            weights = image.new_full((image.shape[0], self.styles), 1.0 / self.styles)
        return self.transform(image, weights)


def build(settings: StyleMultiSettings, classes: int) -> StyleMulti:
    """A network for `classes` styles with random weights; to begin with all styles are one."""
    return StyleMulti(settings, classes)
