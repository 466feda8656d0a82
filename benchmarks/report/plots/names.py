"""How rows are called and told apart in plots: the same in each of them."""

from __future__ import annotations

from collections.abc import Sequence

from visiondeploy.benchmarks.report.cells import plain
from visiondeploy.benchmarks.report.plots.scene import Marker, Role
from visiondeploy.benchmarks.report.schema import Report, Row

_LOOKS: dict[str, tuple[Marker, Role]] = {
    "openvino": ("disc", "one"),
    "onnxruntime": ("square", "two"),
    "tensorrt": ("triangle", "three"),
    "tensorrt-rtx": ("upside", "four"),
    "torchscript": ("pentagon", "five"),
    "pytorch": ("diamond", "own"),
}
_OTHER: tuple[Marker, Role] = ("disc", "six")


def look(row: Row, report: Report) -> tuple[Marker, Role]:
    """Marker and colour of a row: those of its backend, of the baseline its own."""
    return ("diamond", "own") if row is report.baseline else _LOOKS.get(row.backend, _OTHER)


def backends(rows: Sequence[Row], report: Report) -> list[tuple[str, Marker, Role]]:
    """An entry of a legend for each look among the rows, the baseline's first."""
    found: dict[tuple[Marker, Role], str] = {}
    for row in sorted(rows, key=lambda row: row is not report.baseline):
        said = f"{plain(row.backend)}, the baseline" if row is report.baseline else plain(row.backend)
        found.setdefault(look(row, report), said)
    return [(said, *looks) for looks, said in found.items()]


def short(names: Sequence[str]) -> list[str]:
    """The names without the words that all begin with ("unet-"), as long as something is left of each."""
    words = [plain(name).split("-") for name in names]
    common = 0
    while len(words) > 1 and all(len(one) > common + 1 and one[common] == words[0][common] for one in words):
        common += 1
    return ["-".join(one[common:]) for one in words]


def called(report: Report) -> dict[str, str]:
    """The short name of each row, by its name."""
    names = [row.name for row in report.rows]
    return dict(zip(names, short(names), strict=True))
