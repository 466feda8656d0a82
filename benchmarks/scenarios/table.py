"""The scenarios that exist. A new one is one file in this folder, one name in `settings.Name`, and one line here."""

from __future__ import annotations

from visiondeploy.benchmarks.scenarios.base import Measure
from visiondeploy.benchmarks.scenarios.multi_stream import multi_stream
from visiondeploy.benchmarks.scenarios.offline import offline
from visiondeploy.benchmarks.scenarios.server import server
from visiondeploy.benchmarks.scenarios.settings import Name
from visiondeploy.benchmarks.scenarios.single_stream import single_stream

SCENARIOS: dict[Name, Measure] = {
    "single-stream": single_stream,
    "multi-stream": multi_stream,
    "offline": offline,
    "server": server,
}
