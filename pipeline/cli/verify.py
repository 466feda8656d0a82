"""`deploy verify`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", metavar="PUB", type=click.Path(path_type=Path), help="The signer's public key, PEM.")
@click.option("--run/--no-run", default=True, help="Load the engine and run the golden inputs [default: --run].")
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, bundle: Path, key: Path | None, run: bool, as_json: bool) -> None:
    """Check a BUNDLE, a folder or NAME.tar.zst, before it is served: one line for each check, the first failure last.

    \b
    deploy verify street.bundle                  digests, contract, this machine, and the golden run
    deploy verify street.tar.zst --key pub.pem   its signature, too
    deploy verify street.bundle --no-run         without loading the engine

    Exit codes: 0 all held, 1 golden outputs not near enough, 3 no bundle or one whose parts contradict each other,
    4 a digest, the signature, a path or a mode is off, 5 not for this machine, 6 no room.
    """
    from visiondeploy.pipeline.bundle.checks import Asked, Mark, findings, to_json

    seen = []
    for found in findings(bundle, Asked(key, run)):
        seen.append(found)
        if not as_json:
            click.echo(f"{found.mark:<8}{found.name:<11}{_line(found.found)}")
    failed = seen[-1].mark is Mark.FAIL
    if as_json:
        click.echo(to_json(bundle, seen).encode(), nl=False)
    else:
        seconds = sum(one.seconds for one in seen)
        click.echo(f"{'FAILED' if failed else 'verified'} {_line(str(bundle))} in {seconds:.1f} s")
    ctx.exit(seen[-1].exit_code)


def _line(text: str) -> str:
    """On one line, whatever names are in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
