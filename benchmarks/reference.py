"""A stored reference: what engines gave once, that later ones are compared with. `deploy gate --update` writes one.

Accuracy is compared image by image, with the statistics in the file of samples beside it. Of times only the speed-up
over PyTorch in the same run means something later, and that only on the same machine.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from visiondeploy.benchmarks.environment import differences, fingerprint
from visiondeploy.benchmarks.report.parts import Part, Text, first_problem, parse
from visiondeploy.benchmarks.report.schema import Environment, Report, Row
from visiondeploy.benchmarks.samples import Samples
from visiondeploy.errors import InputError, UsageError

# History
#   1  2026-12  first version
SCHEMA: Literal["visiondeploy.reference/1"] = "visiondeploy.reference/1"


class Reference(Part):
    """Rows as they were measured, without raw times, and what they were measured on.

    `made` is the day (ISO 8601), `validation` the digest of the images, `kinds` are the classes or paintings, and
    `samples` is the sha256 of the file beside it with the statistics of each image.
    """

    schema_name: Literal["visiondeploy.reference/1"] = Field(default=SCHEMA, alias="schema")
    suite: Text
    made: Text
    validation: Text
    kinds: tuple[str, ...]
    samples: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    fingerprint: Text
    environment: Environment
    rows: tuple[Row, ...]

    @classmethod
    def of(
        cls, report: Report, samples: Samples, digest: str, kinds: tuple[str, ...], suite: str, made: str
    ) -> Reference:
        """What a report says, as a reference for later ones; `digest` is that of the samples' file."""
        return cls(
            suite=suite,
            made=made,
            validation=samples.validation,
            kinds=kinds,
            samples=digest,
            fingerprint=fingerprint(report.environment),
            environment=report.environment,
            rows=tuple(_without_raw(row) for row in report.rows if not row.base),
        )

    def row(self, name: str) -> Row | None:
        """The row of that name."""
        return next((row for row in self.rows if row.name == name), None)

    def check(self, validation: str, kinds: tuple[str, ...], source: str) -> None:
        """Raise `UsageError` where it is of other validation data or of other classes."""
        if self.kinds != kinds:
            raise UsageError(
                f"the reference {source} is of {_few(self.kinds)}, and the report of {_few(kinds)}: name another with "
                "--reference, or write a new one with --update."
            )
        if self.validation != validation:
            raise UsageError(
                f"the reference {source} was measured on other validation data: name another with --reference, or "
                "write a new one with --update."
            )

    def elsewhere(self, environment: Environment) -> str | None:
        """Why its times are not those of this environment; None where they are."""
        if fingerprint(environment) == self.fingerprint:
            return None
        other = "; ".join(differences(self.environment, environment)) or "another fingerprint"
        return f"the reference was measured elsewhere ({other}), and times of two machines are not compared"

    def to_json(self) -> str:
        """The reference as JSON text with a final newline."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Reference:
        """Read one; `source` is the file's name, for messages. Raises `InputError` where it is something else."""
        try:
            content = parse(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source} is not a reference: {error}; write one with `deploy gate --update`.") from None
        found = content.get("schema") if isinstance(content, dict) else None
        if found != SCHEMA:
            raise InputError(
                f"{source} is not a reference: found schema {str(found)[:60]!r}, expected {SCHEMA!r}; write one with "
                "`deploy gate --update`."
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{source} is a reference that breaks its contract: {first_problem(error)}.") from None


def _without_raw(row: Row) -> Row:
    """A row without what is only of use within its own run."""
    latency = row.latency_ms and row.latency_ms.model_copy(update={"raw": (), "blocks": ()})
    return row.model_copy(update={"latency_ms": latency, "profile": (), "scenarios": ()})


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
