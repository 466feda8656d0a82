"""What `gate` and `bench --gate` share: their options, and what comes out of a verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from visiondeploy.errors import GateFailed, UsageError
from visiondeploy.pipeline.cli.building import say

if TYPE_CHECKING:
    from visiondeploy.benchmarks.report.schema import Report
    from visiondeploy.pipeline.gating import Gate, Measured

Command = TypeVar("Command", bound=Callable[..., Any])

GATE_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--reference",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The stored reference [default: benchmarks/references/SUITE.json].",
    ),
    click.option("--update", is_flag=True, help="Store what was measured as the reference, unless a limit fails."),
    click.option("--allow-inconclusive", is_flag=True, help="End with 0 where limits are not decided."),
    click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write the checks as JUnit XML."),
    click.option(
        "--summary",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE|-",
        help='Write them as Markdown; to "$GITHUB_STEP_SUMMARY" it is added.',
    ),
)


def gate_options(command: Command) -> Command:
    """Add them to a command."""
    for option in reversed(GATE_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Judgement:
    """How a verdict is made and where it goes."""

    gate: Gate
    update: bool
    allow_inconclusive: bool
    junit: Path | None
    summary: Path | None

    @property
    def allowed(self) -> bool:
        """Whether what is INCONCLUSIVE ends with 0: with --update what compares with a reference cannot be decided."""
        return self.allow_inconclusive or self.update or self.gate.suite.allow_inconclusive


def judgement(
    suite: str,
    reference: Path | None,
    update: bool,
    allow_inconclusive: bool,
    junit: Path | None,
    summary: Path | None,
) -> Judgement:
    """From the options as click gave them. Raises as `load_suite`."""
    from visiondeploy.pipeline.gating import Gate
    from visiondeploy.pipeline.suites import load_suite

    gate = Gate(load_suite(suite), reference, fresh=update)
    return Judgement(gate, update, allow_inconclusive, junit, summary)


def refuse_without_gate(given: dict[str, object]) -> None:
    """Raise `UsageError` for an option that is for a verdict, where no suite is given."""
    for name, value in given.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} is for a suite's verdict: add --gate with a suite.")


@contextmanager
def deciding(report: Report, found: Judgement) -> Iterator[None]:
    """Write what was asked for, then run the block that prints; ends with 1 unless the verdict lets it pass.

    That is also so where the reader of stdout left early.
    """
    from visiondeploy.benchmarks.report.headline import headline

    _write(report, found)
    try:
        yield
    finally:
        status = report.verdict.status
        if status == "FAIL" or (status == "INCONCLUSIVE" and not found.allowed):
            raise GateFailed(headline(report.verdict))


def store_reference(measured: Measured, report: Report, found: Judgement) -> None:
    """With --update: write the reference, unless a limit fails, which is said."""
    from visiondeploy.pipeline.gating import write_reference

    if not found.update:
        return
    if report.verdict.status == "FAIL":
        say("the reference is not written, as a limit fails")
        return
    say(f"reference {write_reference(measured, found.gate)}")


def _write(report: Report, found: Judgement) -> None:
    from visiondeploy.benchmarks.report.junit import to_junit
    from visiondeploy.benchmarks.report.summary import to_summary
    from visiondeploy.pipeline.files import resource_error, write_atomic

    name = found.gate.suite.name
    if found.junit is not None:
        write_atomic(found.junit, to_junit(report, name, allow_inconclusive=found.allowed))
    if found.summary is None:
        return
    text = to_summary(report, name)
    if str(found.summary) == "-":
        click.echo(text.encode(), nl=False)
    elif str(found.summary) == os.environ.get("GITHUB_STEP_SUMMARY"):
        # All steps of a job write to that file, one after the other.
        try:
            with found.summary.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise resource_error(error, found.summary, "check --summary") from error
    else:
        write_atomic(found.summary, text)
