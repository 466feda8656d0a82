"""`deploy weights distil`: teach a small feature network a large one's features."""

from __future__ import annotations

from pathlib import Path

import click

from visiondeploy.pipeline.cli.options import threads_option

PAINTING = 1024
"""The longer side in pixels that paintings are brought to."""


@click.command("distil")
@click.option("--teacher", default="vgg16-hed", show_default=True, metavar="NAME", help="A VGG whose weights are here.")
@click.option("--dataset", required=True, metavar="SPEC", help='Photographs: "images:PATH" or any other data set.')
@click.option("--style", "styles", multiple=True, type=click.Path(path_type=Path), help="A painting; may be repeated.")
@click.option("--steps", type=click.IntRange(min=0), help="Steps of training after the fit.")
@click.option("--fitted", type=click.IntRange(min=1), help="Pictures that the first weights are fitted on.")
@click.option("--batch", type=click.IntRange(min=2), help="Pictures in each step.")
@click.option("--pixels", type=click.IntRange(32, 512), help="Height and width of the pictures.")
@threads_option
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The folder for the weights.")
def distil(
    teacher: str,
    dataset: str,
    styles: tuple[Path, ...],
    steps: int | None,
    fitted: int | None,
    batch: int | None,
    pixels: int | None,
    threads: int | None,
    out: Path,
) -> None:
    """Teach the small network "mobilenet" a VGG's features; write weights.safetensors and weights.json.

    An interrupted run goes on where it was when the command is given again.
    """
    from visiondeploy.models.cache import default_root
    from visiondeploy.models.data.styled import StyledDataset, read_painting
    from visiondeploy.models.data.table import open_dataset
    from visiondeploy.models.feature_objective import FeatureSettings
    from visiondeploy.models.features import WEIGHTS
    from visiondeploy.pipeline.cli.building import say
    from visiondeploy.pipeline.cli.display import Display
    from visiondeploy.pipeline.recipe import default_threads
    from visiondeploy.pipeline.stages.distil_features import DESCRIPTION, Lesson, distil_features
    from visiondeploy.pipeline.store import Store

    found = open_dataset(dataset, {})
    if styles:
        found = StyledDataset(found, [read_painting(path, PAINTING) for path in styles])
    chosen = {"steps": steps, "fitted": fitted, "batch_size": batch, "size": pixels}
    settings = FeatureSettings.model_validate({name: value for name, value in chosen.items() if value is not None})
    lesson = Lesson(teacher, found, ("train", "val"), settings)
    with Display() as display:
        store = Store(default_root(), on_warning=display.warn, on_wait=display.warn)
        artifact = distil_features(lesson, store, threads or default_threads(), display)
    out.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, DESCRIPTION):
        artifact.copy(name, out / name)
    say(f"weights  {out / WEIGHTS}")
