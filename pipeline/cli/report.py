"""`deploy report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("report", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page [default: report.html beside the report].")
@click.option("--plots", is_flag=True, help="Write each plot as PNG and SVG, too, into plots/ beside the page.")
def command(report: Path, out: Path | None, plots: bool) -> None:
    """Make a page of REPORT, a report.json or build.json, or a folder with one of them. Nothing is measured.

    The page is one HTML file that needs no network. Pictures are those of the pictures.json that `deploy bench` writes
    beside its report, where it is there.
    """
    from pydantic import ValidationError

    from visiondeploy.benchmarks.report.html.pictures import Album
    from visiondeploy.benchmarks.report.schema import Report
    from visiondeploy.errors import InputError, UsageError
    from visiondeploy.models.reading import read_bytes
    from visiondeploy.pipeline.cli.building import say
    from visiondeploy.pipeline.folder import BUILD, LARGEST_REPORT
    from visiondeploy.pipeline.gating import REPORT
    from visiondeploy.pipeline.pages import PAGE, PICTURES, write_page

    path = report
    if report.is_dir():
        known = [report / name for name in (REPORT, BUILD) if (report / name).is_file()]
        if not known:
            raise InputError(f"{report} holds neither {REPORT} nor {BUILD}: give a report, or the folder of one.")
        path = known[0]
    try:
        found = Report.from_json(read_bytes(path, LARGEST_REPORT), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a report that exists.") from None
    page = out or path.parent / PAGE
    if page.suffix.lower() not in {".html", ".htm"}:
        raise UsageError(f"a page is a .html file, found {page.name}: give another name with -o.")
    beside = path.parent / PICTURES
    try:
        pictures = Album.model_validate_json(read_bytes(beside, LARGEST_REPORT)) if beside.is_file() else None
    except (OSError, ValidationError):
        raise InputError(
            f"{beside} cannot be read as the pictures of a report: move it away, or bench again."
        ) from None
    write_page(page, found, path.absolute().parent.name, pictures, plots=plots)
    say(f"page     {page}")
