"""A report is kept in a history, with the commit that is checked out here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from visiondeploy.benchmarks.history import Run, save
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.pipeline.commits import commit_of


def keep(report: Report, name: str, validation: str | None, folder: Path) -> Path:
    """Write the report into the history `name` in `folder`; returns the file.

    Raises `UsageError` for a name that cannot be that of a folder, `ResourceError` where it cannot be written.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    return save(folder, Run(name=name, date=now, commit=commit_of(Path.cwd()), validation=validation, report=report))
