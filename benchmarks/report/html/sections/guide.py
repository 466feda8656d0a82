"""How to read the page: what its words mean, of those that the report makes use of."""

from __future__ import annotations

from visiondeploy.benchmarks.report.html.blocks import Terms
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.schema import Report

_ALWAYS = (
    (
        "verdict",
        "PASS only where the data show that every limit is held; FAIL where they show that one is broken; "
        "INCONCLUSIVE where they do not suffice to tell.",
    ),
    (
        "baseline",
        "The first engine of the table. All else is compared with it, in the same run, on the same machine, with "
        "as many threads.",
    ),
    ("Δ", "Difference to the baseline."),
    (
        "95 % CI",
        "Confidence interval: in 95 of 100 such measurements the true value lies within. Two whose intervals overlap "
        "are not shown to differ.",
    ),
    ("p50, p90, p99", "So many percent of the runs took at most that long. A dash: too few runs to tell."),
    ("speed-up", "The baseline's time over the engine's, from blocks side by side: above 1 the engine is faster."),
    ("–", "Not measured. Nothing on this page is estimated."),
)
_METRICS = {
    "miou": (
        "miou",
        "Mean intersection over union: for each class the pixels that truth and prediction share, over all that either "
        "has; the mean over the classes, 0 to 1.",
    ),
    "style_loss": (
        "style_loss",
        "Distance of the picture's Gram matrices to the painting's, in the features of a fixed network. 0 is its style "
        "in full; less is better.",
    ),
    "content_loss": (
        "content_loss",
        "Distance of the picture's features to the photograph's, in a fixed network. 0 is its content in full; less is "
        "better.",
    ),
    "ssim": ("ssim", "Structural similarity to the baseline's own picture: 1 where the two are equal."),
    "psnr_db": ("psnr_db", "Peak signal over the noise, in decibels, of the picture against the baseline's own."),
}


def section(content: Content) -> Section:
    """A short glossary."""
    return Section("guide", "How to read this page", (Terms((*_ALWAYS, *_of(content.report)), "glossary"),))


def _of(report: Report) -> list[tuple[str, str]]:
    used = {one.metric for row in report.rows for one in (row.quality, *row.more) if one is not None}
    used |= {measure for row in report.rows for measure in row.likeness}
    found = [term for name, term in _METRICS.items() if name in used]
    if any(row.agreement is not None for row in report.rows):
        found.append(
            (
                "agrees, SQNR",
                "Share of pixels with the baseline's class; and signal over the noise that the engine adds, in "
                "decibels: 20 dB is an error of a tenth, 40 dB of a hundredth.",
            )
        )
    if report.noise is not None:
        found.append(("A/A", "The baseline against itself, as if it were two: what noise alone makes of a ratio of 1."))
    return found
