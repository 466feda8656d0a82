"""The report contract: what `build.json` and `deploy bench --json` hold, read by people and other tools.

Names are stable within a version: a field may be added (with a default, so that older files still
read), never renamed or given another meaning; fields that a reader does not know are ignored.

Two conventions hold throughout. What was not measured is null; nothing is ever estimated. JSON has no
infinity and no NaN, so an SQNR that is not a finite number is null, and `exact` and `finite` beside it
say which of the two it was (see `AgreementRow`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, ValidationError, model_validator

from visiondeploy.benchmarks.report.compression import Compression
from visiondeploy.benchmarks.report.measured import Activity, Latency, LayerShare, Likeness, Noise, Scenario, Speedup
from visiondeploy.benchmarks.report.parts import Interval, OnnxFile, Part, Share, Text, first_problem, parse
from visiondeploy.errors import InputError
from visiondeploy.types import Agreement, Outcome, Precision, Status

# History
#   1  2026-11  first version
SCHEMA: Literal["visiondeploy.report/1"] = "visiondeploy.report/1"
_FAMILY = "visiondeploy.report/"

BASELINE_BACKEND = "pytorch"
FILE_BACKEND = "onnxruntime"
"""What runs the baseline where there is no PyTorch network, but somebody else's ONNX file."""

# Lists of plain numbers, which `json.dumps(indent=...)` spreads over one line per number.
_NUMBERS = re.compile(r"\[\n\s*([^\[\]{}\"]*?)\n\s*\]")


class GpuLoad(Part):
    """A GPU while it was measured. `None` where it does not tell.

    `sm_mhz` is the smallest, the median and the largest clock of its multiprocessors, `sm_mhz_max` what they can,
    `watts` and `celsius` the largest that were read, `throttled` why it clocked down, where it did.
    """

    index: NonNegativeInt
    name: Text
    driver: Text
    sm_mhz: tuple[float, float, float] | None = None
    sm_mhz_max: float | None = None
    watts: float | None = None
    watts_limit: float | None = None
    celsius: float | None = None
    throttled: tuple[Text, ...] = ()


class Environment(Part):
    """The machine and the tools. `None` where the system does not tell."""

    cpu: str
    threads: Annotated[int, Field(ge=1)]
    gpu: str | None = None
    gpus: tuple[GpuLoad, ...] = ()
    """While the engines were measured, where NVML tells."""
    versions: dict[str, str]
    machine: str | None = None
    """Architecture: "x86_64", "aarch64"."""
    cores_physical: int | None = None
    cores_logical: int | None = None
    cores_available: int | None = None
    """Logical cores that this process may run on (its affinity mask)."""
    affinity: tuple[int, ...] = ()
    """Which ones; of engines that had processes of their own and were pinned, the cores of those."""
    cpu_quota: float | None = None
    """Cores' worth of time that the control group grants; None where it sets no limit."""
    isa: tuple[str, ...] = ()
    """Instruction sets that decide the speed of a network, of those in `environment.ISA`."""
    virtual: bool | None = None
    governor: str | None = None
    turbo: bool | None = None
    allocator: str | None = None
    """Whose malloc it is: the C library with its version, "jemalloc", "tcmalloc", "mimalloc"."""
    autogroup: bool | None = None
    """Whether Linux groups tasks by session, so that niceness only counts within one (sched(7))."""
    activity: Activity | None = None
    """What else the machine did while the engines were measured."""
    memory_bytes: NonNegativeInt | None = None
    os: str | None = None
    kernel: str | None = None
    python: str | None = None
    variables: dict[str, str] = Field(default_factory=dict)
    """Variables of the environment that change threads or instruction sets, where they are set."""


class ClassQuality(Part):
    """The metric of one class; None where no pixel of the class is in the truth or the prediction.

    `ci95` is the paired interval of value − baseline, from the `n` samples that have the class; None where fewer than
    two have it.
    """

    value: float | None
    baseline: float | None
    ci95: Interval | None = None
    n: NonNegativeInt | None = None


class Quality(Part):
    """A metric on `n` samples, and its difference to the baseline; larger is better unless `smaller` says otherwise.

    `ci95` is the paired bootstrap interval of `delta`; None where fewer than two samples were seen. `per_class` has
    the metric of what it is made of, which `part` names. One that is not `judged` has no limit.
    """

    metric: Text
    value: float
    baseline: float
    delta: float
    ci95: Interval | None
    n: Annotated[int, Field(ge=1)]
    per_class: dict[str, ClassQuality] = Field(default_factory=dict)
    part: Text = "class"
    smaller: bool = False
    judged: bool = True

    @property
    def gain(self) -> tuple[float, Interval | None]:
        """By how much it is better than the baseline, below 0 worse, and the interval of that.

        In points of 100, or where smaller is better in percent of the baseline's value.
        """
        if not self.smaller:
            return self.delta * 100, None if self.ci95 is None else (self.ci95[0] * 100, self.ci95[1] * 100)
        scale = -100 / self.baseline if self.baseline > 0 else -math.inf
        # Of a baseline of 0 the scale is infinite, and no change is no change all the same.
        value, *bounds = (change * scale if change else 0.0 for change in (self.delta, *reversed(self.ci95 or ())))
        return value, (bounds[0], bounds[1]) if bounds else None

    @model_validator(mode="after")
    def _delta_is_the_difference(self) -> Self:
        if not math.isclose(self.delta, self.value - self.baseline, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(f"delta is value - baseline = {self.value - self.baseline}, found {self.delta}")
        if self.ci95 is not None and not self.ci95[0] - 1e-9 <= self.delta <= self.ci95[1] + 1e-9:
            raise ValueError(f"delta {self.delta} lies outside its own interval {list(self.ci95)}")
        return self


class AgreementRow(Part):
    """How far the outputs are from the baseline's, as `visiondeploy.types.Agreement`, without infinities.

    `sqnr_db` is null where it is no finite number: with `exact` true the outputs are equal (SQNR is +∞);
    with `finite` false the candidate gave NaN or infinity (SQNR is −∞, and the errors are null too);
    with `outputs` "classes" the outputs are class maps, of which `pixels` says all that can be said;
    with none of these, the reference was zero everywhere and the candidate was not, or nothing was measured.
    Anyone who compares with a limit in decibels therefore lets null pass only where `exact` is true.
    """

    outputs: Literal["values", "classes"] = "values"
    pixels: Share | None = None
    sqnr_db: float | None = None
    exact: bool = False
    finite: bool = True
    max_abs: float | None = None
    mean_abs: float | None = None
    samples: NonNegativeInt = 0

    @model_validator(mode="after")
    def _one_reason_for_null(self) -> Self:
        if (self.exact or not self.finite) and self.sqnr_db is not None:
            raise ValueError("sqnr_db is null where exact is true or finite is false")
        if self.exact and not self.finite:
            raise ValueError("outputs that are not finite cannot be exact")
        measured = (self.sqnr_db, self.max_abs, self.mean_abs) != (None, None, None)
        if self.outputs == "classes" and (measured or self.pixels is None):
            raise ValueError("class maps have pixels that agree, and no sqnr_db, max_abs or mean_abs")
        return self

    @classmethod
    def of(cls, agreement: Agreement) -> Self:
        """The row that says what `agreement` says: infinities put into `exact` and `finite`, NaN into `outputs`."""
        if math.isnan(agreement.sqnr_db):
            exact = agreement.pixels == 1
            return cls(outputs="classes", pixels=agreement.pixels, exact=exact, samples=agreement.samples)
        finite = math.isfinite(agreement.max_abs)
        return cls(
            pixels=agreement.pixels,
            sqnr_db=agreement.sqnr_db if math.isfinite(agreement.sqnr_db) else None,
            exact=agreement.sqnr_db == math.inf,
            finite=finite,
            max_abs=agreement.max_abs if finite else None,
            mean_abs=agreement.mean_abs if finite else None,
            samples=agreement.samples,
        )


class Row(Part):
    """One engine (or the baseline), measured, failed or not run.

    `realised` counts layers by the type they compute in, `stored` by the type their weights are kept in,
    `providers` by what executes them. An engine that was built and not run may have the first two, and its size:
    its builder tells of them. `surprises` are sentences on what is not as was asked for; where
    there are none, readers make one of layers that are off the precision. `notes` are the rest.
    """

    name: Text
    model: Text
    backend: Text
    precision: Precision
    status: Status
    reason: Text | None = None
    realised: dict[str, NonNegativeInt] | None = None
    stored: dict[str, NonNegativeInt] = Field(default_factory=dict)
    providers: dict[str, NonNegativeInt] = Field(default_factory=dict)
    parameters: NonNegativeInt | None = None
    digest: Text | None = None
    """SHA-256 over the names and bytes of the engine's files: which engine it was."""
    size_bytes: NonNegativeInt | None = None
    peak_rss_bytes: NonNegativeInt | None = None
    quality: Quality | None = None
    more: tuple[Quality, ...] = ()
    """The task's other metrics."""
    likeness: dict[str, Likeness] = Field(default_factory=dict)
    agreement: AgreementRow | None = None
    latency_ms: Latency | None = None
    speedup: Speedup | None = None
    scenarios: tuple[Scenario, ...] = ()
    profile: tuple[LayerShare, ...] = ()
    """Its layers in the order of execution, where the runtime's profiler was asked."""
    surprises: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    base: bool = False
    """Whether it is an engine of the base commit, that engines of the candidate are compared with in this run."""

    @model_validator(mode="after")
    def _status_fits(self) -> Self:
        if self.status is Status.OK and self.reason is not None:
            raise ValueError(f"row '{self.name}' is ok, so it has no reason; say it in notes")
        if self.status is not Status.OK and self.reason is None:
            raise ValueError(f"row '{self.name}' is {self.status.value}: a reason is required")
        if self.status is Status.NOT_RUN:
            measured: tuple[str, ...] = (
                "peak_rss_bytes",
                "quality",
                "more",
                "likeness",
                "agreement",
                "latency_ms",
                "speedup",
            )
            measured += ("scenarios", "profile")
            filled = [field for field in measured if getattr(self, field)]
            if filled:
                raise ValueError(f"row '{self.name}' was not run, yet it has {', '.join(filled)}")
        return self

    @property
    def off_precision(self) -> dict[str, int]:
        """Layers by compute type, of those that do not compute in the precision that was asked for."""
        return {kind: n for kind, n in (self.realised or {}).items() if kind != self.precision.value and n}


class Check(Part):
    """One limit and what was found, both as they are to be read.

    `p_value` is that of the test that it is held, where one was made, already corrected where several were; `needed`
    says what would decide an INCONCLUSIVE one ("about 340 images"). `origin` is what set the limit: "build" for the
    parity of its stages, "suite" for a suite's; None for the recipe.
    """

    name: Text
    limit: str
    found: str
    status: Outcome
    p_value: Share | None = None
    needed: Text | None = None
    origin: Literal["build", "suite"] | None = None


_SEVERITY = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASS: 2}


class Verdict(Part):
    """The worst outcome of the checks. Without any check nothing is shown to hold: INCONCLUSIVE."""

    status: Outcome
    checks: tuple[Check, ...] = ()

    @model_validator(mode="after")
    def _worst_of_checks(self) -> Self:
        if self.status is not _worst(self.checks):
            raise ValueError(f"the worst of the checks is {_worst(self.checks).value}, found {self.status.value}")
        return self

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Self:
        """The verdict that the checks add up to."""
        kept = tuple(checks)
        return cls(status=_worst(kept), checks=kept)

    def by_severity(self) -> tuple[Check, ...]:
        """The checks, failed ones first, in their own order otherwise."""
        return tuple(sorted(self.checks, key=lambda check: _SEVERITY[check.status]))


def _worst(checks: Iterable[Check]) -> Outcome:
    return min((check.status for check in checks), key=_SEVERITY.__getitem__, default=Outcome.INCONCLUSIVE)


class Report(Part):
    """Rows measured on one machine in one run; the first is the baseline.

    That is PyTorch eager in fp32, or with `file` that very file in ONNX Runtime, in the precision that it had.
    """

    schema_name: Literal["visiondeploy.report/1"] = Field(default=SCHEMA, alias="schema")
    environment: Environment
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    verdict: Verdict
    notes: tuple[str, ...] = ()
    noise: Noise | None = None
    """Of the machine in this run; None where it was not measured."""
    compression: Compression | None = None
    """What compressing the network did; None, and absent from the JSON, where it was not compressed."""
    file: OnnxFile | None = None
    """The network, where that is no PyTorch module of ours; else None, and absent from the JSON."""

    @model_validator(mode="after")
    def _baseline_first(self) -> Self:
        first, file = self.rows[0], self.file
        wanted = (BASELINE_BACKEND, Precision.FP32) if file is None else (FILE_BACKEND, file.precision)
        if (first.backend, first.precision) != wanted:
            found = f"{first.backend} {first.precision.value}"
            raise ValueError(f"the first row is the baseline, {wanted[0]} {wanted[1].value}, found {found}")
        if first.status is Status.OK and (first.speedup is None or first.speedup.value != 1):
            raise ValueError("the baseline's speed-up is 1 by definition")
        if first.status is not Status.OK and any(row.speedup for row in self.rows):
            raise ValueError("there is no speed-up over a baseline that was not measured")
        names = [row.name for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names of rows are unique, found twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _variants_have_their_rows(self) -> Self:
        names = {row.name for row in self.rows}
        for variant in self.compression.variants if self.compression is not None else ():
            if variant.row is not None and variant.row not in names:
                raise ValueError(f"variant '{variant.name}' was measured in row '{variant.row}', which is not there")
        return self

    @property
    def baseline(self) -> Row:
        """The first row."""
        return self.rows[0]

    def to_json(self) -> str:
        """The report as JSON text, UTF-8 friendly, lists of numbers on one line, with a final newline."""
        absent = {name for name in ("compression", "file") if getattr(self, name) is None}
        content = self.model_dump(mode="json", by_alias=True, exclude=absent)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        return _NUMBERS.sub(lambda found: "[" + re.sub(r"\s*\n\s*", " ", found[1]) + "]", text) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "report") -> Self:
        """Read a report; `source` is the file's name, for messages.

        Raises InputError where the text is not JSON, is of another schema or version, or breaks the contract.
        """
        try:
            content = parse(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{source} is not a report: {error}; expected JSON as `deploy bench --json` writes."
            ) from None
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise InputError(f"{source} {_foreign(found)}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{source} is a report that breaks its contract: {first_problem(error)}.") from None


def _foreign(found: object) -> str:
    if isinstance(found, str) and found.startswith(_FAMILY):
        return (
            f"is a report of version {found.removeprefix(_FAMILY)[:40]!r}, this visiondeploy reads "
            f"{SCHEMA.removeprefix(_FAMILY)!r}: write it again with this one, or read it with the one that wrote it."
        )
    said = "no schema" if found is None else f"schema {str(found)[:80]!r}"
    return f"is not a report of visiondeploy: found {said}, expected schema {SCHEMA!r}."
