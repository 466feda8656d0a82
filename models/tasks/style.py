"""Style transfer: a photograph goes in, the same scene in a painting's style comes out, and how that is judged.

A sample's truth is the painting. What is judged are, in the features of a fixed network, the Gram matrices of the
picture against those of the painting, and its features against those of the photograph (`models/perceptual.py`). Both
are relative: 0 is the painting's style, or the photograph's content, in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from visiondeploy.errors import InputError
from visiondeploy.models.spec import NetworkSpec, StyleSpec
from visiondeploy.models.table import NETWORKS
from visiondeploy.types import Array, Ending, Image, Metric, Sample, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor

    from visiondeploy.models.features import FeatureNet

INPUT = "image"
OUTPUT = "picture"
WEIGHTS = "weights"
STYLE = "style"

PAN = (3, 6)
"""Pixels, down and right, that a photograph is moved by: no multiple of the strides of a network."""
BORDER = 16
"""Pixels at the edges of a picture, fewer of a small one, in which two frames are not compared."""

LARGEST_PSNR = 100.0
"""Decibels, for pictures that are equal: a mean over images with infinity in it says nothing."""


class Style:
    """The task for networks image N×3×H×W → picture N×3×H×W in 0…1, some with a second input for the style.

    That is `weights` N×styles, which blend the styles of the network, or `style` N×3×H×W, any painting.
    """

    name = "style"
    shown = ("content", "style")
    tiled = True
    outputs: tuple[str, ...] = (OUTPUT,)
    ending: Ending | None = None

    def __init__(self, spec: NetworkSpec) -> None:
        if spec.style is None:
            raise InputError(f"network {spec.architecture} is for style transfer, and its description has no style.")
        self.spec = spec
        self.style: StyleSpec = spec.style
        known = NETWORKS.get(spec.architecture)
        self.second = None if known is None else known.second
        self.inputs: tuple[str, ...] = (INPUT,) if self.second is None else (INPUT, self.second)
        self.metrics: tuple[Metric, ...] = (
            Metric("style_loss", _style_loss, self._by_layer, "layer", smaller=True),
            Metric("content_loss", _content_loss, lambda _: {}, "layer", smaller=True),
            Metric("flicker", _flicker, lambda _: {}, "layer", smaller=True, judged=False),
        )
        self._mean = np.asarray(spec.input.mean, dtype=np.float32)
        self._std = np.asarray(spec.input.std, dtype=np.float32)
        self._grams: dict[int, tuple[Array, dict[str, Tensor]]] = {}

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """One image N×3×height×width float32, and what says the style where the network does not know it."""
        return (TensorSpec(INPUT, "float32", self._shape), *self._second_spec())

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """A picture N×3×height×width float32, nominally in 0…1."""
        return (TensorSpec(OUTPUT, "float32", self._shape),)

    @property
    def _shape(self) -> tuple[int | str, ...]:
        return ("batch", 3, self.spec.input.height, self.spec.input.width)

    def _second_spec(self) -> tuple[TensorSpec, ...]:
        if self.second == WEIGHTS:
            return (TensorSpec(WEIGHTS, "float32", ("batch", len(self.style.names))),)
        return (TensorSpec(STYLE, "float32", self._shape),) if self.second == STYLE else ()

    def preprocess(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """H×W×3 uint8 RGB images of any size to one batch N×3×height×width float32, cut to shape and normalised."""
        return {INPUT: np.stack([self._normalised(sample.image) for sample in samples]), **self._styles(samples)}

    def _normalised(self, image: Image) -> Array:
        pixels = self.fitted(image).astype(np.float32)
        found: Array = ((pixels / 255.0 - self._mean) / self._std).transpose(2, 0, 1)
        return found

    def _styles(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """What the second input is fed."""
        if self.second == WEIGHTS:
            return {WEIGHTS: np.eye(len(self.style.names), dtype=np.float32)[[sample.style for sample in samples]]}
        if self.second == STYLE:
            # What shows no painting is painted like itself.
            shown = (sample.image if sample.target is None else sample.target for sample in samples)
            return {STYLE: np.stack([self._normalised(image) for image in shown])}
        return {}

    def fitted(self, image: Image) -> Image:
        """The middle of the image in the network's shape and size: strokes are as high as they are wide."""
        height, width = self.spec.input.height, self.spec.input.width
        if image.shape[:2] == (height, width):
            return image
        tall, wide = image.shape[:2]
        scale = min(tall / height, wide / width)
        cut = (height * scale, width * scale)
        top, left = (tall - cut[0]) / 2, (wide - cut[1]) / 2
        box = (left, top, left + cut[1], top + cut[0])
        return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BICUBIC, box=box))

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The picture as it is."""
        return dict(outputs)

    def values(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The picture."""
        return outputs

    def labels(self, outputs: Mapping[str, Array]) -> Array | None:
        """None: there are no classes."""
        return None

    def classes(self, sample: Sample, outputs: Mapping[str, Array]) -> Array | None:
        """None, as for `labels`."""
        return None

    def pictures(self, outputs: Mapping[str, Array]) -> Array:
        """The pictures N×3×H×W float32 within 0…1; what is no number becomes 0."""
        return np.clip(np.nan_to_num(outputs[OUTPUT].astype(np.float32), nan=0.0), 0, 1)

    def moved(self, sample: Sample) -> Sample | None:
        """The sample panned by `PAN`: what comes in at the edges is reflected."""
        image = self.fitted(sample.image)
        panned = np.pad(image, ((PAN[0], 0), (PAN[1], 0), (0, 0)), mode="reflect")[: image.shape[0], : image.shape[1]]
        return replace(sample, image=np.ascontiguousarray(panned))

    def score(
        self, outputs: Mapping[str, Array], samples: Sequence[Sample], moved: Mapping[str, Array] | None = None
    ) -> Array:
        """Rows N×(2 + layers) float64: the content loss, the flicker, then the style loss of each layer.

        Flicker is the root of the mean square by which a picture differs from that of the photograph panned, where the
        two show the same, in 0…1; NaN where there is no such picture. Raises `InputError` where a sample has no
        painting.
        """
        rows = self._losses(outputs, samples)
        still = self.pictures(outputs)
        unsteady = np.full(len(rows), np.nan) if moved is None else _unsteadiness(still, self.pictures(moved))
        return np.insert(rows, _FLICKER, unsteady, axis=1)

    def _losses(self, outputs: Mapping[str, Array], samples: Sequence[Sample]) -> Array:
        """Rows N×(1 + layers): the content loss and, where there are paintings, the style loss of each layer."""
        import torch

        from visiondeploy.models.perceptual import content_loss, style_losses

        photographs = torch.from_numpy(np.stack([self.fitted(sample.image) for sample in samples]))
        photographs = photographs.permute(0, 3, 1, 2).float() / 255.0
        net = self.features
        with torch.no_grad():
            found = net(torch.from_numpy(self.pictures(outputs)), (*net.content, *net.style))
            wanted = net(photographs, net.content)
            columns = [content_loss(found, wanted)]
            if self.style.names:
                paintings = [self._painting(sample) for sample in samples]
                grams = {layer: torch.cat([gram[layer] for gram in paintings]) for layer in net.style}
                columns += style_losses(found, grams).values()
        rows: Array = torch.stack(columns, dim=1).double().numpy()
        return rows

    @cached_property
    def features(self) -> FeatureNet:
        """The network in whose features is judged.

        Raises `InputError` for other weights than the spec names, and where it names none.
        """
        from visiondeploy.models.features import features_digest, load_features

        name = self.style.features
        if name is None:
            raise InputError(f"network {self.spec.architecture} is judged in no features: its description names none.")
        if features_digest(name) != self.style.weights:
            raise InputError(
                f"the weights of feature network '{name}' here are not those that this network was judged with, and "
                "losses of the two cannot be compared: fetch them again, or train anew."
            )
        return load_features(name)

    def _painting(self, sample: Sample) -> dict[str, Tensor]:
        """The Gram matrices of a sample's painting, 1×C×C by layer, computed once for each painting."""
        from visiondeploy.models.perceptual import style_grams

        if sample.target is None:
            raise InputError(f"{sample.name} has no painting: the style loss needs one.")
        known = self._grams.get(id(sample.target))
        if known is None:
            # With the array itself, whose identity is another one's as soon as it is gone.
            known = sample.target, style_grams(self.features, as_tensor(sample.target), self.features.style)
            self._grams[id(sample.target)] = known
        return known[1]

    def likeness(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> dict[str, Array]:
        """SSIM (Wang et al. 2004), PSNR in dB and, where there are any, distance in features of pictures, (N,) each."""
        expected, found = self.pictures(reference), self.pictures(candidate)
        measures = {"ssim": _ssim(expected, found), "psnr_db": _psnr(expected, found)}
        if self.style.features is not None:
            measures["features"] = self._apart(expected, found)
        return measures

    def _apart(self, expected: Array, found: Array) -> Array:
        import torch

        from visiondeploy.models.perceptual import perceptual_distance

        net = self.features
        with torch.no_grad():
            one, other = (net(torch.from_numpy(pictures), net.style) for pictures in (expected, found))
            values: Array = perceptual_distance(one, other).double().numpy()
        return values

    def _by_layer(self, scores: Array) -> dict[str, float | None]:
        """The style loss of each layer."""
        return dict(zip(self.features.style, scores[:, _FIRST_LAYER:].mean(axis=0).tolist(), strict=True))

    def strata(self, sample: Sample) -> frozenset[str]:
        """The name of the style, where there are several."""
        return frozenset({self.style.names[sample.style]} if len(self.style.names) > 1 else ())

    def picture(self, sample: Sample, outputs: Mapping[str, Array]) -> Image:
        """The first picture H×W×3 uint8, at the network's size."""
        found: Image = to_pixels(self.pictures(outputs)[0])
        return found

    def truth(self, sample: Sample) -> Image:
        """The painting."""
        return sample.image if sample.target is None else sample.target


_CONTENT, _FLICKER, _FIRST_LAYER = range(3)
"""Columns of the rows of statistics."""


def to_pixels(picture: Array) -> Image:
    """A picture 3×H×W in 0…1 as H×W×3 uint8, rounded to the nearest."""
    pixels: Image = np.rint(picture.transpose(1, 2, 0) * 255.0).astype(np.uint8)
    return pixels


def as_tensor(image: Image) -> Tensor:
    """H×W×3 uint8 as 1×3×H×W float32 in 0…1."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255.0


def _style_loss(scores: Array) -> float:
    """The mean over images and layers."""
    return float(scores[:, _FIRST_LAYER:].mean())


def _content_loss(scores: Array) -> float:
    """The mean over images."""
    return float(scores[:, _CONTENT].mean())


def _flicker(scores: Array) -> float:
    """The mean over images."""
    return float(scores[:, _FLICKER].mean())


def _unsteadiness(still: Array, panned: Array) -> Array:
    """How far pictures N×3×H×W are from those of photographs panned by `PAN`, (N,)."""
    down, right = PAN
    height, width = still.shape[2:]
    border = min(BORDER, (height - down) // 4, (width - right) // 4)
    one = still[:, :, border : height - border - down, border : width - border - right]
    other = panned[:, :, border + down : height - border, border + right : width - border]
    found: Array = np.sqrt(np.square(one.astype(np.float64) - other).mean(axis=(1, 2, 3)))
    return found


def _ssim(expected: Array, found: Array) -> Array:
    from skimage.metrics import structural_similarity

    # As in the paper: Gaussian windows of σ 1.5, without the correction of samples.
    wanted: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(expected, found, strict=True)
    similarity: Any = structural_similarity
    return np.array([similarity(one, two, channel_axis=0, data_range=1.0, **wanted) for one, two in pairs])


def _psnr(expected: Array, found: Array) -> Array:
    error = np.square(expected.astype(np.float64) - found).mean(axis=(1, 2, 3))
    found_db: Array = np.minimum(-10 * np.log10(np.maximum(error, 1e-30)), LARGEST_PSNR)
    return found_db
