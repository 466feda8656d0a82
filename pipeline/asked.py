"""What `deploy bench` is asked to measure besides the recipe's own measurement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.merge import merged, refuse_other_machine
from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.benchmarks.scenarios.settings import Name
from visiondeploy.benchmarks.settings import BenchSettings
from visiondeploy.errors import UsageError
from visiondeploy.models.reading import read_bytes
from visiondeploy.pipeline.folder import LARGEST_REPORT
from visiondeploy.pipeline.stages.timing import cores_of


@dataclass(frozen=True, slots=True)
class Asked:
    """Scenarios and how long one of an engine takes, the bound of the server, pinned cores, a report to add to.

    None and nothing leave what the recipe says. Raises `UsageError` for a bound without the scenario that has one.
    """

    scenarios: tuple[Name, ...] = ()
    scenario_seconds: float | None = None
    bound_ms: float | None = None
    pin: bool = False
    add: Path | None = None

    def of(self, settings: BenchSettings) -> BenchSettings:
        """The settings with what was asked for."""
        said: dict[str, Any] = {
            "names": tuple(dict.fromkeys(self.scenarios)) or None,
            "seconds": self.scenario_seconds,
            "bound_ms": self.bound_ms,
        }
        known = {name: value for name, value in said.items() if value is not None}
        scenarios = settings.scenarios.model_copy(update=known)
        if self.bound_ms is not None and "server" not in scenarios.names:
            raise UsageError("--bound-ms is the bound of the server scenario: add --scenario server.")
        latency = settings.latency.model_copy(update={"pin": True, "isolate": True}) if self.pin else settings.latency
        return settings.model_copy(update={"scenarios": scenarios, "latency": latency})

    def earlier(self, settings: BenchSettings, threads: int) -> Report | None:
        """The report to be added to, before minutes are spent on what cannot be.

        Raises `InputError` where it is none, `EnvironmentMismatch` where it is of another machine than this.
        """
        if self.add is None:
            return None
        found = Report.from_json(read_bytes(self.add, LARGEST_REPORT), str(self.add))
        # A GPU is known for certain only once its runtime is loaded.
        known = {"affinity": cores_of(settings.latency, threads), "gpu": found.environment.gpu}
        refuse_other_machine(found.environment, capture(threads).model_copy(update=known))
        return found


def pooled(earlier: Report | None, report: Report) -> Report:
    """The report with an earlier run added, where there is one."""
    return report if earlier is None else merged(earlier, report)
