"""The page of a report beside its JSON: written where it is missing or of another report, else left as it is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from visiondeploy.benchmarks.report.html.version import digest, digest_of
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.pipeline.files import resource_error, write_atomic

if TYPE_CHECKING:
    from visiondeploy.benchmarks.report.html.pictures import Album

PAGE = "report.html"
PLOTS = "plots"
PICTURES = "pictures.json"
"""The pictures of a page, so that it can be made again."""


def write_page(
    path: Path,
    report: Report,
    title: str,
    pictures: Album | None = None,
    command: str | None = None,
    *,
    plots: bool = False,
) -> None:
    """Write the page, and with `plots` each of its plots as PNG and SVG into `plots/` beside it.

    Raises `ResourceError` where they cannot be written.
    """
    from visiondeploy.benchmarks.report.html.page import NO_PICTURES, to_html
    from visiondeploy.benchmarks.report.plots.table import is_plot, save_plots
    from visiondeploy.benchmarks.report.plots.table import plots as drawn

    found = drawn(report)
    write_atomic(path, to_html(report, title, found, pictures or NO_PICTURES, command))
    if not plots:
        return
    folder = path.parent / PLOTS
    try:
        folder.mkdir(exist_ok=True)
        # Of an earlier report there may be plots that this one does not have.
        for old in filter(is_plot, folder.iterdir()):
            old.unlink()
    except OSError as error:
        raise resource_error(error, folder, "choose another folder with -o") from error
    save_plots(folder, found)


def keep_page(folder: Path, report: Report | None, title: str) -> None:
    """Have the page of a build in its folder, of this very report; none where there is no report.

    A page that is up to date is left alone, and nothing is imported that draws. What is there under the page's name and
    is none of ours stays.
    """
    path = folder / PAGE
    found = digest_of(path)
    if path.exists() and found is None:
        return
    if report is None:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    elif found != digest(report.to_json(), title, ""):
        write_page(path, report, title)
