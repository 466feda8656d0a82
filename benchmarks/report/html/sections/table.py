"""The sections of a page, in their order."""

from __future__ import annotations

from collections.abc import Callable

from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.html.sections import (
    checks,
    compression,
    engines,
    guide,
    latency,
    layers,
    noise,
    quality,
    scenarios,
    setting,
    surprises,
    tradeoff,
    viewer,
)

SECTIONS: tuple[Callable[[Content], Section | None], ...] = (
    checks.section,
    surprises.section,
    engines.section,
    tradeoff.section,
    latency.section,
    quality.section,
    viewer.section,
    layers.section,
    scenarios.section,
    noise.section,
    compression.section,
    setting.section,
    guide.section,
)
"""Each makes its section, or none where the report has nothing for it."""
