"""The command `deploy`. Data goes to stdout, progress and errors to stderr.

Commands are imported when they are called, so that `deploy --help` answers at once.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from visiondeploy import __version__
from visiondeploy.errors import VisionDeployError, unknown_name

PACKAGE = "visiondeploy.pipeline.cli"
COMMANDS: dict[str, tuple[str, str, str]] = {
    "build": ("build", "command", "Train or load, export, convert, compile and measure a network."),
    "bench": ("bench", "command", "Compare built engines with PyTorch: accuracy, latency, memory."),
    "gate": ("gate", "command", "Judge a report by a suite's limits; for CI: exit code, JUnit, summary."),
    "history": ("history", "command", "Show a metric over commits, from the reports that `bench --save` kept."),
    "train": ("stages", "train", "Only train: the first stage of `build`."),
    "compress": ("compress", "command", "Make a network smaller: prune channels, separate convolutions, distil."),
    "export": ("stages", "export", "Train or load, then export to ONNX and TorchScript."),
    "calibrate": ("calibrate", "command", "Only quantise, and show ranges and the layers that int8 hurts most."),
    "compile": ("stages", "compile_", "All stages of `build` but the measurement."),
    "report": ("report", "command", "Make a page of a report that is there, and pictures of its plots."),
    "inspect": ("inspect", "command", "Show the layers of a build: shapes, weights, arithmetic, types."),
    "compare": ("compare", "command", "Compare two ONNX files or engines layer by layer, and name where they part."),
    "predict": ("predict", "command", "Run an engine on images: class maps, or pictures of their own size."),
    "bundle": ("bundle", "command", "Hand an engine on, with its contract, golden runs, server settings and digests."),
    "verify": ("verify", "command", "Check a bundle: files, signature, contract, target, golden run."),
    "push": ("registry", "push", "Put a bundle into an OCI registry."),
    "pull": ("registry", "pull", "Get a bundle out of an OCI registry, checked byte for byte."),
    "models": ("models", "command", "List networks, recipes, backends and data sets."),
    "weights": ("weights", "command", "Fetch, list and make the weights that style and content are compared with."),
    "doctor": ("doctor", "command", "Say what this machine can build and run, and what is missing."),
}
"""Module, attribute and one line of help of each command, in the order of the help text."""


class ReaderGone(Exception):
    """Whoever reads stdout (`| head`) has seen enough."""


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """click and rich exit with 1 where a pipe is broken, which to us means that a limit is not held."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            raise ReaderGone from error
        raise


class LazyGroup(click.Group):
    """A group whose commands stand in a table and are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"{PACKAGE}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name for one that does not exist."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise unknown_name("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's; the help is printed here."""
        with _reader_may_leave():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        with _reader_may_leave():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, package_name="visiondeploy", prog_name="deploy")
def deploy(debug: bool) -> None:
    """Take a vision network from PyTorch to an engine that a serving team can trust.

    \b
    deploy build --model unet --precision fp16    build an engine and measure it
    deploy bench                                  compare what was built with PyTorch
    """


def main() -> None:
    """Entry point of the console script. Exit codes are those of `visiondeploy.errors`."""
    debug = "--debug" in sys.argv[1:]
    _make_streams_safe()
    try:
        code = deploy.main(prog_name="deploy", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, ReaderGone):
        code = 0
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; run the same command again to go on.")
        code = 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show(file=sys.stderr)
        code = error.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        _say(error.format_message() + (f" See `{context.command_path} --help`." if context else ""))
        code = error.exit_code
    except Exception as error:  # the last place where an error can become a sentence
        if debug:
            raise
        code = _explain(error)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code if isinstance(code, int) else 0)


def _make_streams_safe() -> None:
    """Streams that can be written to, whatever they were started with."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # Closed (`>&-`). The next file that is opened gets its number, and had better be this one.
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - it stays open
        elif isinstance(stream, io.TextIOWrapper) and name != "stdin":
            # Of "×" and "−" an ASCII terminal shows the code.
            stream.reconfigure(errors="backslashreplace")


def _explain(error: Exception) -> int:
    """Print one sentence for an error and return its exit code."""
    import errno

    code = 1
    if isinstance(error, VisionDeployError):
        message, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        message, code = "memory ran out: lower the batch size, the input size or the width of the network.", 6
    elif isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message, code = f"the disk is full ({error.filename or 'no file named'}): free space and run again.", 6
    else:
        reason = str(error).strip().splitlines()
        message = (
            f"unexpected {type(error).__name__}: {reason[0] if reason else 'no message'} "
            "(a fault of visiondeploy; `deploy --debug …` shows where)"
        )
    _say(message)
    return code


def _say(message: str) -> None:
    """One line on stderr, also where a name in the message has line breaks or codes for the terminal."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message)
    print(f"deploy: {line}", file=sys.stderr)
