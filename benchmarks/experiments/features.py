"""What a small feature network saves over VGG19, and how far it stands in for its teacher.

Times are of the style and content layers at 512×512, with random weights: without gradient, and forward and backward to
the picture through the style and content loss. All networks are timed in shuffled blocks of one run, as `deploy bench`
does. Memory is the peak of a process of its own, over what it has before the call.
The student is judged against its teacher: whether it finds the same pairs of pictures alike (the correlation of style
distances), whether it would move a picture the same way (the cosine between gradients of the style loss), and what
style loss, of the teacher, a picture reaches that was optimised with either.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.latency import LatencySettings, measure
from visiondeploy.models.data.images import read_image
from visiondeploy.models.data.pictures import pictures_in
from visiondeploy.models.features import FeatureNet, load_features
from visiondeploy.models.mobile_features import build
from visiondeploy.models.perceptual import content_loss, gram, style_grams, style_loss, style_losses
from visiondeploy.models.vgg import vgg16, vgg19
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.types import Array

NETWORKS: dict[str, Callable[[], FeatureNet]] = {"VGG19": vgg19, "VGG16": vgg16, "mobilenet": build}
STYLE_WEIGHT = 2.0
"""Of the style loss beside the content loss, as style networks are trained."""


def ready(name: str) -> FeatureNet:
    """A network with random weights, frozen."""
    torch.manual_seed(0)
    return NETWORKS[name]().eval().requires_grad_(False)  # type: ignore[attr-defined, no-any-return]


def objective(net: FeatureNet, images: Tensor, grams: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """The loss that pictures and style networks are optimised by; a scalar."""
    found = net(images, (*net.content, *net.style))
    return (content_loss(found, wanted) + STYLE_WEIGHT * style_loss(found, grams)).sum()


def forward_and_backward(net: FeatureNet, images: Tensor) -> Callable[[], Tensor]:
    """A call that gives the gradient of the loss with respect to images."""
    images = images.clone().requires_grad_(True)
    grams = style_grams(net, images.detach().flip(-1), net.style)
    with torch.no_grad():
        wanted = net(images.detach().roll(8, -1), net.content)

    def call() -> Tensor:
        (gradient,) = torch.autograd.grad(objective(net, images, grams, wanted), images)
        return gradient

    return call


def forward(net: FeatureNet, images: Tensor) -> None:
    """All style and content layers."""
    with torch.no_grad():
        net(images, (*net.content, *net.style))


def peak_memory(name: str, size: int, threads: int) -> float:
    """Megabytes that forward and backward add to the peak of this process, which has done nothing else."""
    torch.set_num_threads(threads)
    net, images = ready(name), torch.rand(1, 3, size, size)
    # What the process that started this one once had is forgotten: it would count as this one's peak.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _peak_kib()
    forward_and_backward(net, images)()
    return (_peak_kib() - before) / 1024


def _peak_kib() -> int:
    """The largest resident memory of this process since that was last cleared."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def speed(names: Sequence[str], size: int, threads: int, seconds: float) -> list[str]:
    """Rows of the table of time and memory, of networks of the table; ratios are to the first."""
    images = torch.rand(1, 3, size, size)
    nets = {name: ready(name) for name in names}
    # The ratio to itself is not asked for, and the large networks take seconds a run.
    settings = LatencySettings(
        seconds=seconds, relative_width=0.03, min_blocks=5, warmup_seconds=6, noise=False, isolate=False
    )
    baseline = names[0]
    one = measure({name: partial(forward, net, images) for name, net in nets.items()}, baseline, settings)
    both = measure({name: forward_and_backward(net, images) for name, net in nets.items()}, baseline, settings)
    rows = []
    for name, net in nets.items():
        parameters = sum(parameter.numel() for parameter in net.parameters())  # type: ignore[attr-defined]
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory = pool.apply(peak_memory, (name, size, threads))
        cells = [name, f"{parameters / 1e6:.2f} M"]
        for found in (one, both):
            ratio = found[name].speedup
            cells += [
                f"{np.median(found[name].raw):.0f}",
                f"{ratio.value:.2f} ({ratio.ci95[0]:.2f} to {ratio.ci95[1]:.2f})",
            ]
        rows.append(f"| {' | '.join([*cells, f'{memory:.0f}'])} |")
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def square(path: Path, size: int) -> Tensor:
    """The middle of a picture, 1×3×size×size in 0…1."""
    image = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float() / 255.0
    side = min(image.shape[-2:])
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    return F.interpolate(
        image[..., top : top + side, left : left + side], (size, size), mode="bilinear", antialias=True
    )


def agreement(student: FeatureNet, teacher: FeatureNet, pictures: Sequence[Tensor]) -> dict[str, tuple[float, float]]:
    """Pearson's correlation of the logarithm of style distances of all pairs, and Spearman's, by layer and in all."""
    pairs = list(itertools.permutations(range(len(pictures)), 2))
    distances = []
    for net in (student, teacher):
        with torch.no_grad():
            grams = [{layer: gram(value) for layer, value in net(picture, net.style).items()} for picture in pictures]
            found = [_apart(grams[one], grams[other]) for one, other in pairs]
        distances.append({key: np.array([each[key] for each in found]) for key in found[0]})
    return {key: _correlations(distances[0][key], distances[1][key]) for key in distances[0]}


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    losses = {
        layer: float((one[layer] - wanted).square().sum() / wanted.square().sum()) for layer, wanted in other.items()
    }
    return {**losses, "all": float(np.mean(list(losses.values())))}


def _correlations(one: Array, other: Array) -> tuple[float, float]:
    first, second = (np.argsort(np.argsort(each)).astype(np.float64) for each in (one, other))
    return float(np.corrcoef(np.log(one), np.log(other))[0, 1]), float(np.corrcoef(first, second)[0, 1])


def gradient(net: FeatureNet, images: Tensor, painting: Tensor, layers: Sequence[str]) -> Tensor:
    """∂(style loss)/∂(images)."""
    images = images.clone().requires_grad_(True)
    losses = style_losses(net(images, layers), style_grams(net, painting, layers))
    (found,) = torch.autograd.grad(torch.stack(list(losses.values())).sum(), images)
    return found


def optimised(net: FeatureNet, photograph: Tensor, painting: Tensor, steps: int) -> Tensor:
    """The photograph after some steps of Adam towards the painting's style."""
    images = photograph.clone().requires_grad_(True)
    grams = style_grams(net, painting, net.style)
    with torch.no_grad():
        wanted = net(photograph, net.content)
    adam = torch.optim.Adam([images], 0.03)
    for _ in range(steps):
        adam.zero_grad()
        (images.grad,) = torch.autograd.grad(objective(net, images, grams, wanted), images)
        adam.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()


def standing_in(
    student: FeatureNet, teacher: FeatureNet, pairs: Sequence[tuple[Tensor, Tensor]], steps: int
) -> list[str]:
    """Rows of the table of gradients, and of what an optimisation reaches."""
    cosines: dict[str, list[list[float]]] = {}
    reached: dict[str, list[float]] = {"the photograph": [], "by the teacher": [], "by the student": []}
    random = torch.Generator().manual_seed(0)
    for photograph, painting in pairs:
        stylised = optimised(teacher, photograph, painting, steps)
        states = {
            "photograph": photograph,
            "noisy": (photograph + 0.2 * torch.randn(photograph.shape, generator=random)).clamp(0, 1),
            "half-stylised": torch.lerp(photograph, stylised, 0.5),
            "stylised": stylised,
        }
        for name, images in states.items():
            row = [_cosine(student, teacher, images, painting, layers) for layers in _choices(teacher)]
            cosines.setdefault(name, []).append(row)
        ends = dict(zip(reached, (photograph, stylised, optimised(student, photograph, painting, steps)), strict=True))
        grams = style_grams(teacher, painting, teacher.style)
        for name, images in ends.items():
            with torch.no_grad():
                reached[name].append(float(style_loss(teacher(images, teacher.style), grams)))
    rows = [
        f"| {name} | {' | '.join(f'{value:.2f}' for value in np.mean(found, axis=0))} |"
        for name, found in cosines.items()
    ]
    rows += ["", f"The teacher's style loss after {steps} steps of Adam, the mean over pairs:", ""]
    rows += [f"- {name}: {np.mean(values):.4f}" for name, values in reached.items()]
    return rows


def _choices(net: FeatureNet) -> list[tuple[str, ...]]:
    """All style layers, and each alone."""
    return [net.style, *((layer,) for layer in net.style)]


def _cosine(student: FeatureNet, teacher: FeatureNet, images: Tensor, painting: Tensor, layers: Sequence[str]) -> float:
    found, wanted = (gradient(net, images, painting, layers).flatten() for net in (student, teacher))
    return float(F.cosine_similarity(found, wanted, dim=0))


def main() -> None:
    """Run the experiment and write what came out, as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photographs", type=Path, required=True, help="a folder of pictures")
    parser.add_argument("--paintings", type=Path, required=True, help="a folder of pictures")
    parser.add_argument("--teacher", default="vgg16-hed", help="a feature network whose weights are here")
    parser.add_argument("--student", default="mobilenet", help="the other (default: mobilenet)")
    parser.add_argument("--timed", nargs="+", choices=NETWORKS, default=[*NETWORKS], help="the first is the baseline")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120, help="for each of two timings; 0 leaves them out")
    parser.add_argument("--size", type=int, default=512, help="of the pictures that are timed")
    parser.add_argument("--judged", type=int, default=192, help="size of the pictures that are judged")
    parser.add_argument("--pictures", type=int, default=8, help="photographs that are compared in style")
    parser.add_argument("--pairs", type=int, default=3, help="photographs that are given a painting's style")
    parser.add_argument("--steps", type=int, default=60, help="of each optimisation")
    parser.add_argument("-o", "--out", type=Path, default="features.md", help="where the tables go")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    timed = speed(arguments.timed, arguments.size, arguments.threads, arguments.seconds) if arguments.seconds else []
    student, teacher = load_features(arguments.student), load_features(arguments.teacher)
    files = pictures_in(arguments.photographs)
    photographs = [square(path, arguments.judged) for path in files[:: max(1, len(files) // arguments.pictures)]]
    paintings = [square(path, arguments.judged) for path in pictures_in(arguments.paintings)]
    alike = agreement(student, teacher, [*photographs, *paintings])
    pairs = list(zip(photographs[: arguments.pairs], itertools.cycle(paintings), strict=False))
    judged = standing_in(student, teacher, pairs, arguments.steps)
    here = capture(arguments.threads)
    faster = f"× {arguments.timed[0]} (95 %)"
    text = f"""# Feature networks

| network | parameters | forward, ms | {faster} | and backward, ms | {faster} | peak, MB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(timed)}

Style distances in `{arguments.student}` and in `{arguments.teacher}`, of {len(photographs) + len(paintings)} pictures,
each with each:

| layer | correlation of logarithms | of ranks |
| --- | ---: | ---: |
{chr(10).join(f"| {key} | {one:.3f} | {other:.3f} |" for key, (one, other) in alike.items())}

Cosine between the gradients of the style loss, the mean of {len(pairs)} pairs of photograph and painting:

| picture | {" | ".join("+".join(layers) if len(layers) == 1 else "all" for layers in _choices(teacher))} |
| --- |{" ---: |" * (len(teacher.style) + 1)}
{chr(10).join(judged)}

{(__doc__ or "").partition("teacher." + chr(10))[2].strip()}

Environment: {here.cpu} ({" ".join(here.isa)}), {here.cores_logical} cores, {here.threads} threads, {here.os}, kernel
{here.kernel}, Python {here.python}; {", ".join(f"{tool} {version}" for tool, version in here.versions.items())}.
"""
    write_atomic(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
