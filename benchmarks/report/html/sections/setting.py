"""Where the report comes from: the machine, the versions of the tools, and the command."""

from __future__ import annotations

from visiondeploy.benchmarks.report.cells import plain, size
from visiondeploy.benchmarks.report.html.blocks import Block, Heading, Terms
from visiondeploy.benchmarks.report.html.content import Content, Section
from visiondeploy.benchmarks.report.schema import Environment


def section(content: Content) -> Section:
    """The environment, as far as the system told."""
    found = content.report.environment
    blocks: list[Block] = []
    made = [("command", content.command or ""), *_file(content)]
    if known := tuple((term, plain(said)) for term, said in made if said):
        blocks.append(Terms(known, "numbers"))
    blocks += [Heading("Machine"), Terms(_machine(found), "numbers"), Heading("Versions")]
    blocks.append(Terms(tuple((plain(name), plain(said)) for name, said in found.versions.items()), "numbers"))
    if found.variables:
        blocks.append(Heading("Variables that change threads or instruction sets"))
        blocks.append(Terms(tuple((plain(name), plain(said)) for name, said in found.variables.items()), "numbers"))
    return Section("environment", "Environment", tuple(blocks))


def _file(content: Content) -> list[tuple[str, str]]:
    file = content.report.file
    return [] if file is None else [("ONNX file", file.name), ("its SHA-256", file.sha256)]


def _machine(found: Environment) -> tuple[tuple[str, str], ...]:
    cores = [
        f"{count} {kind}"
        for count, kind in (
            (found.cores_physical, "physical"),
            (found.cores_logical, "logical"),
            (found.cores_available, "for this process"),
        )
        if count is not None
    ]
    known = (
        ("processor", found.cpu),
        ("architecture", found.machine or ""),
        ("threads", str(found.threads)),
        ("cores", ", ".join(cores)),
        ("share of the control group", f"{found.cpu_quota:g} cores" if found.cpu_quota is not None else ""),
        ("instruction sets", ", ".join(found.isa)),
        ("virtual machine", _yes(found.virtual)),
        ("governor", found.governor or ""),
        ("turbo", _yes(found.turbo)),
        ("GPU", found.gpu or "none"),
        ("memory", size(found.memory_bytes) if found.memory_bytes is not None else ""),
        ("system", found.os or ""),
        ("kernel", found.kernel or ""),
        ("Python", found.python or ""),
    )
    return tuple((term, plain(said)) for term, said in known if said)


def _yes(found: bool | None) -> str:
    return "" if found is None else ("yes" if found else "no")
