"""The files that `deploy bench` leaves: the report as JSON, Markdown and page, its samples, pictures and plots."""

from __future__ import annotations

from pathlib import Path

from visiondeploy.benchmarks.report.html.pictures import album
from visiondeploy.benchmarks.report.markdown import to_markdown
from visiondeploy.benchmarks.report.pictures import Legend, contact_sheet, save_png
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.benchmarks.samples import FILE as SAMPLES
from visiondeploy.benchmarks.samples import Samples
from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.files import is_temporary, resource_error, write_atomic
from visiondeploy.pipeline.folder import LARGEST_REPORT
from visiondeploy.pipeline.gating import REPORT
from visiondeploy.pipeline.pages import PAGE, PICTURES, write_page
from visiondeploy.types import Image


def check_reports(folder: Path) -> None:
    """Raise `UsageError` for a folder that holds files, but no report of ours: nobody else's is overwritten."""
    path = folder / REPORT
    try:
        if not folder.exists():
            return
        # A run that was killed before its report leaves that report's temporary file.
        others = sorted(entry for entry in folder.iterdir() if not is_temporary(entry))
        if others and path not in others:
            raise UsageError(f"{folder} holds {others[0].name} and no {REPORT}: choose an empty or new folder with -o.")
        if others:
            Report.from_json(read_bytes(path, LARGEST_REPORT), str(path))
    except InputError as error:
        raise UsageError(f"{str(error).rstrip('.')}; it is not overwritten: choose another folder with -o.") from None
    except OSError as error:
        raise resource_error(error, path, "choose another folder with -o") from error


def write_reports(
    folder: Path,
    report: Report,
    samples: Samples,
    shown: list[list[tuple[str, Image]]],
    legend: Legend,
    title: str,
    command: str | None,
) -> Path | None:
    """Write all of it; the path of the contact sheet, None where there are no pictures.

    `shown` are rows of labelled pictures, `command` is what the page says that it was made by. Raises `ResourceError`
    where a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise resource_error(error, folder, "choose another folder with -o") from error
    write_atomic(folder / REPORT, report.to_json())
    write_atomic(folder / SAMPLES, samples.to_bytes())
    write_atomic(folder / "report.md", to_markdown(report))
    pictures = album(shown, legend)
    write_atomic(folder / PICTURES, pictures.model_dump_json() + "\n")
    write_page(folder / PAGE, report, title, pictures, command, plots=True)
    if not shown:
        return None
    path = folder / "predictions.png"
    save_png(path, contact_sheet(shown, legend=legend))
    return path
