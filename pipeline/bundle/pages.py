"""The report of a bundle: where its JSON and its page are, and the page itself."""

from __future__ import annotations

from visiondeploy.benchmarks.report.schema import Report

JSON = "report/report.json"
HTML = "report/report.html"


def page_of(report: Report, title: str) -> str:
    """The report as a page, with its plots and without pictures."""
    # What draws takes longer to import than all else of a bundle.
    from visiondeploy.benchmarks.report.html.page import to_html
    from visiondeploy.benchmarks.report.plots.table import plots

    return to_html(report, title, plots(report))
