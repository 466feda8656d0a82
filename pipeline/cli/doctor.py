"""`deploy doctor`: what this machine can build and run, and what is missing."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import click

from visiondeploy.errors import BackendUnavailable, ResourceError, VisionDeployError


@click.command("doctor")
@click.option(
    "--require",
    metavar="BACKEND",
    multiple=True,
    help="Fail where this one cannot build and run here; for health checks.",
)
def command(require: tuple[str, ...]) -> None:
    """Say what this machine can build and run, and what is missing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from visiondeploy.benchmarks.environment import capture, has_fast_half, has_vnni
    from visiondeploy.models.cache import default_root
    from visiondeploy.pipeline.backends.table import BACKENDS, backend_of
    from visiondeploy.pipeline.recipe import default_threads
    from visiondeploy.pipeline.store import tool_versions

    required = [backend_of(name) for name in require]
    threads = default_threads()
    environment = capture(threads)
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    memory = f", {environment.memory_bytes / 2**30:.0f} GiB" if environment.memory_bytes else ""
    table.add_row("cpu", f"{escape(environment.cpu)}, {threads} threads{memory}")
    table.add_row("", " ".join(environment.isa))
    table.add_row("gpu", escape(environment.gpu or "") or "none: TensorRT engines cannot be run or measured here")
    for name, backend in BACKENDS.items():
        versions = ", ".join(f"{package} {version}" for package, version in tool_versions(*backend.packages).items())
        if reason := backend.unavailable():
            said = f"[yellow]missing[/]: {escape(reason)}"
        elif reason := backend.unrunnable():
            said = f"[yellow]builds only[/]: {versions}; its engines cannot run here: {escape(reason)}"
        else:
            said = f"[green]ready[/]: {versions}"
        table.add_row(name, said)
    int8 = "8-bit weights" if has_vnni() else "7-bit weights: this CPU has no VNNI, 8-bit products would saturate"
    table.add_row("int8", int8)
    half = "computed in half" if has_fast_half() else "stored in half, computed in fp32: this CPU has no fast half"
    table.add_row("fp16", half)
    table.add_row("features", _weights())
    try:
        table.add_row("store", escape(_room(default_root())))
    except VisionDeployError as error:
        table.add_row("store", f"[yellow]missing[/]: {escape(str(error))}")
    console.print(table)
    for backend in required:
        if reason := backend.unavailable() or backend.unrunnable():
            raise BackendUnavailable(f"backend {backend.name}: {reason}.")


def _weights() -> str:
    """The feature networks whose weights are here, and those whose weights can be fetched."""
    from visiondeploy.models.features import FEATURES, WEIGHTS, Shipped, weights_folder

    try:
        here = [name for name in FEATURES if (weights_folder(name) / WEIGHTS).is_file()]
    except (VisionDeployError, OSError):
        # What is wrong with the cache stands in the store's row.
        here = []
    absent = [name for name, entry in FEATURES.items() if name not in here and not isinstance(entry.source, Shipped)]
    more = f"; `deploy weights fetch` gets {', '.join(absent)}" if absent else ""
    return f"{', '.join(here) or 'none'}{more}"


def _room(root: Path) -> str:
    """The store's folder, which need not exist yet, and what is free there. Raises `ResourceError`."""
    try:
        with suppress(FileNotFoundError):
            root.stat()
        existing = next(path for path in (root, *root.parents) if path.exists())
        return f"{root}, {shutil.disk_usage(existing).free / 2**30:.0f} GiB free"
    except OSError as error:
        raise ResourceError(
            f"{root} cannot be used ({error.strerror}): set VISIONDEPLOY_CACHE to another folder."
        ) from error
