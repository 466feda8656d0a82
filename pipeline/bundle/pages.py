"""The report of a bundle: JSON, and a page where the part that draws it is here."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

from visiondeploy.benchmarks.report.schema import Report

JSON = "report/report.json"
HTML = "report/report.html"

_PAGE = "visiondeploy.benchmarks.report.html"


def page_of(report: Report, title: str) -> str | None:
    """The report as a page; None where nothing here draws one."""
    if find_spec(_PAGE) is None:
        return None
    to_html = importlib.import_module(f"{_PAGE}.page").to_html
    plots = importlib.import_module("visiondeploy.benchmarks.report.plots.table").plots
    page: str = to_html(report, title, plots(report))
    return page
