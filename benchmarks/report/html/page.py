"""A report as one file that is read in a browser, and needs nothing else: no network, no script but for the slider.

Its policy allows the one style sheet and the one script that are in it, by their digests, and pictures that are part
of it; so whatever the names in a report say, nothing is loaded and nothing else is run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from visiondeploy.benchmarks.report.cells import plain
from visiondeploy.benchmarks.report.html import version
from visiondeploy.benchmarks.report.html.content import Content
from visiondeploy.benchmarks.report.html.pictures import Album
from visiondeploy.benchmarks.report.html.sections.table import SECTIONS
from visiondeploy.benchmarks.report.html.sections.verdict import heading
from visiondeploy.benchmarks.report.html.templating import FOLDER, filled
from visiondeploy.benchmarks.report.plots import svg
from visiondeploy.benchmarks.report.plots.colours import DARK, LIGHT
from visiondeploy.benchmarks.report.plots.table import Plot
from visiondeploy.benchmarks.report.schema import Report

NO_PICTURES = Album()


def to_html(
    report: Report, title: str, plots: Sequence[Plot], pictures: Album = NO_PICTURES, command: str | None = None
) -> str:
    """The page, with a final newline.

    `plots` are those of the report, `pictures` those to be compared, `command` is what made the report.
    """
    content = Content(report, plain(title), {plot.name: plot for plot in plots}, pictures, command)
    style, script = _style(), (FOLDER / "viewer.js").read_text(encoding="utf-8")
    sections = [section for make in SECTIONS if (section := make(content)) is not None]
    page = filled(
        "page",
        title=content.title,
        status=report.verdict.status.value,
        policy=_policy(style, script),
        mark=version.MARK,
        digest=version.digest(report.to_json(), title, command or ""),
        # Safe: files of ours.
        style=Markup(style),
        script=Markup(script),
        heading=heading(content),
        sections=sections,
    )
    return f"{page}\n"


def _style() -> str:
    sheet = (FOLDER / "style.css").read_text(encoding="utf-8")
    colours = {
        name: "".join(f"--{role}:{colour};" for role, colour in palette.items())
        for name, palette in (("light", LIGHT), ("dark", DARK))
    }
    roles = {role: f"var(--{role})" for role in LIGHT}
    return (
        f":root{{{colours['light']}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{colours['dark']}}}}}\n"
        f"{svg.rules(roles)}\n{sheet}"
    )


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy (W3C, level 3) under which only what is written here is run."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
