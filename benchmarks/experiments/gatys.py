"""Gatys's optimisation of each photograph in the style of each painting: the pictures, and how near they come.

All pictures are made with one setting. Beside each distance stands that of the photograph itself to the painting's
style, and that of the painting to the photograph's content: what a picture would have that did nothing for the one or
for the other. Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.report import cells
from visiondeploy.benchmarks.report.pictures import contact_sheet, save_png
from visiondeploy.errors import VisionDeployError
from visiondeploy.models.cache import default_root
from visiondeploy.models.data.images import read_image
from visiondeploy.models.gatys_settings import GatysSettings
from visiondeploy.pipeline.cli.display import Display
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.pipeline.store import Store
from visiondeploy.pipeline.stylising import Stylised, stylise
from visiondeploy.types import Image


@dataclass(frozen=True, slots=True)
class Made:
    """One picture, and the distances of doing nothing for style, and for content."""

    photo: Path
    painting: Path
    picture: Stylised
    photo_style: float
    painting_content: float


def extremes(photo: Image, painting: Image, size: tuple[int, int], features: str) -> tuple[float, float]:
    """The photograph's distance to the painting's style, and the painting's to the photograph's content."""
    import torch

    from visiondeploy.models.features import load_features
    from visiondeploy.models.gatys import as_tensor
    from visiondeploy.models.perceptual import content_loss, style_grams, style_loss

    net = load_features(features)
    ratio = max(size) / max(painting.shape[:2])
    one, other = as_tensor(photo, size), as_tensor(painting, size)
    own = as_tensor(painting, (round(painting.shape[0] * ratio), round(painting.shape[1] * ratio)))
    with torch.inference_mode():
        style = style_loss(net(one, net.style), style_grams(net, own, net.style))
        content = content_loss(net(other, net.content), net(one, net.content))
    return float(style), float(content)


def make(options: argparse.Namespace, settings: GatysSettings) -> list[Made]:
    """Every photograph in the style of every painting, from the store where it is there."""
    made: list[Made] = []
    with Display() as display:
        store = Store(default_root(), on_warning=display.warn, on_wait=display.warn)
        for painting in options.paintings:
            for photo in options.photos:
                target = options.out / f"{photo.stem}-{painting.stem}.png"
                found = stylise(
                    painting,
                    str(photo),
                    str(target),
                    settings,
                    threads=options.threads,
                    existing="overwrite",
                    store=store,
                    events=display,
                )
                (picture,) = found.pictures
                size = (picture.height, picture.width)
                compared = extremes(read_image(photo), read_image(painting), size, settings.features)
                made.append(Made(photo, painting, picture, *compared))
    return made


def sheet(options: argparse.Namespace, made: Sequence[Made]) -> None:
    """The paintings above, the photographs on the left, and the picture of both where they meet."""
    white = np.full((3, 4, 3), 255, dtype=np.uint8)
    rows = [[("photograph", white), *((path.stem, read_image(path)) for path in options.paintings)]]
    for photo in options.photos:
        pictures = {one.painting: read_image(Path(one.picture.output)) for one in made if one.photo == photo}
        rows.append([("photograph", read_image(photo)), *((path.stem, pictures[path]) for path in options.paintings)])
    save_png(options.out / "sheet.png", contact_sheet(rows))


def table(made: Sequence[Made]) -> str:
    """A Markdown table: a line for each picture."""
    lines = [
        "| photograph | painting | size | style | of the photograph itself | content | of the painting itself |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in made:
        last = one.picture.scales[-1]
        cols = [
            one.photo.stem,
            one.painting.stem,
            f"{one.picture.width}×{one.picture.height}",
            f"{last['style']:.4f}",
            f"{one.photo_style:.4f}",
            f"{last['content']:.3f}",
            f"{one.painting_content:.3f}",
        ]
        lines.append(f"| {' | '.join(cols)} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Photographs in the style of paintings, by optimisation.")
    add = parser.add_argument
    add("--photo", dest="photos", action="append", type=Path, required=True, help="may be given again")
    add("--painting", dest="paintings", action="append", type=Path, required=True, help="may be given again")
    add("--features", help="the network that compares")
    add("--size", type=int, help="the longer side in pixels")
    add("--iterations", type=int, help="at all scales together")
    add("--threads", type=int, default=2, help="(default: 2)")
    add("-o", "--out", type=Path, default=Path("gatys"), help="the folder of the pictures (default: gatys)")
    return parser.parse_args()


def main() -> None:
    """Make the pictures, the sheet and the table."""
    options = arguments()
    made_by = f"python {shlex.join(['benchmarks/experiments/gatys.py', *sys.argv[1:]])}"
    given = {name: getattr(options, name) for name in ("features", "size", "iterations")}
    settings = GatysSettings.model_validate({name: value for name, value in given.items() if value is not None})
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        made = make(options, settings)
        sheet(options, made)
    except VisionDeployError as error:
        sys.exit(str(error))
    about = f"{cells.machine(capture(options.threads))}\n\n`{settings.model_dump_json()}`"
    text = f"{about}\n\n{table(made)}\n\n```sh\n{made_by}\n```\n"
    write_atomic(options.out / "gatys.md", text)
    print(text)


if __name__ == "__main__":
    main()
