"""What the machine does to two that are equal: the scale on which all times are to be read."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import number
from visiondeploy.benchmarks.report.html.blocks import Prose, Terms
from visiondeploy.benchmarks.report.html.content import Content, Section


def section(content: Content) -> Section | None:
    """The baseline against itself; none where that was not measured."""
    noise = content.report.noise
    if noise is None:
        return None
    low, high = noise.ci95
    holds = "holds 1, as it should" if low <= 1 <= high else "does not hold 1: something moved between the two"
    return Section(
        "noise",
        "Noise of this machine",
        (
            Prose(
                "The baseline was measured twice in this run, its own blocks against each other (A/A). The truth is 1: "
                f"whatever differs from it is the machine. The interval {holds}."
            ),
            Terms(
                (
                    ("baseline over itself", f"{noise.value:.4f}"),
                    ("95 % CI", f"{low:.4f} to {high:.4f}"),
                    ("one block is off by", f"{number(noise.spread * 100)} % (standard deviation)"),
                    ("blocks", str(noise.blocks)),
                ),
                "numbers",
            ),
        ),
    )
