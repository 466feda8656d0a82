"""Whether a changed bundle, or a changed entry of the store, is ever taken for a good one.

A signed bundle of a build is changed in one way at a time, as a folder or as an archive, and checked as `deploy verify
--key PUB --no-run` does. One that is accepted is then run: outputs that are not the golden ones are wrong numbers. An
archive that unpacks to the very same files was not changed in anything that is used: "same files". "Without a key" is
how many of the kind the other checks alone let through: what a signature is for.

Entries of the store are copied, changed, and asked for with `Store.get`: it has to give nothing, or the same bytes.
Whoever writes all digests of an entry anew has made another entry; against that the store has no signature.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from visiondeploy.benchmarks.environment import capture
from visiondeploy.benchmarks.experiments.mutations_changes import (
    OF_ARCHIVES,
    OF_ENTRIES,
    OF_FOLDERS,
    Change,
    Ground,
    files,
)
from visiondeploy.errors import VisionDeployError
from visiondeploy.models.cache import default_root
from visiondeploy.pipeline.bundle.archive import pack
from visiondeploy.pipeline.bundle.checks import Asked, Finding, Mark, findings
from visiondeploy.pipeline.bundle.make import bundle
from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest
from visiondeploy.pipeline.bundle.snapshot import snapshot
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.files import write_atomic
from visiondeploy.pipeline.store import Store

REFUSED, SAME, ACCEPTED, CRASHED = "refused", "same files", "accepted", "crashed"


class Became(NamedTuple):
    """What became of one change: refused by a check, the same files after all, accepted, or a fault of ours.

    `wrong` says that it was accepted and gave other numbers, `keyless` that it passes where no key is given.
    """

    outcome: str
    by: str = ""
    wrong: bool = False
    keyless: bool = False


@dataclass(frozen=True)
class Result:
    """One change with its number."""

    number: int
    kind: str
    became: Became


@dataclass(frozen=True)
class Subject:
    """What is changed: a bundle as a folder and as an archive, its key, and entries of a store."""

    folder: Path
    archive: Path
    public: Path
    ground: Ground

    def described(self) -> str:
        """What it is, in a sentence."""
        manifest = Manifest.from_json((self.folder / MANIFEST).read_bytes())
        size = sum(entry.size for entry in manifest.files)
        return (
            f"The bundle is {manifest.name}'s, {manifest.engine.precision} in {manifest.engine.backend}, of "
            f"{len(manifest.files)} files and {size / 1e6:.1f} MB; the store has {len(self.ground.entries)} entries."
        )


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files(folder)}


def new_key(folder: Path, name: str) -> tuple[Path, Path]:
    """The halves of a new key as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    none = serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return private, public


def prepare(build: Path, store: Path, folder: Path) -> Subject:
    """Bundle a build, sign it and another version of it, and copy the small entries of a store."""
    (private, public), (stranger, _) = new_key(folder, "signer"), new_key(folder, "stranger")
    for name, version in (("bundle", 1), ("other", 2)):
        bundle(build, folder / name, backend=None, name=None, version=version, force=True, key=private, events=Silent())
    pack(folder / "bundle", folder / "bundle.tar.zst")
    found = sorted(path for path in (store / "artifacts").glob("*/*") if _size(path) < 32 << 20)[:8]
    entries = tuple(folder / "entries" / path.name for path in found if len(files(path)) > 1)
    for entry in entries:
        shutil.copytree(store / "artifacts" / entry.name[:2] / entry.name, entry)
    return Subject(folder / "bundle", folder / "bundle.tar.zst", public, Ground(folder / "other", stranger, entries))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def of_bundle(subject: Subject, whole: Path, change: Change, rng: random.Random, room: Path) -> Became:
    """Change a copy and verify it."""
    target = room / whole.name
    shutil.copytree(whole, target) if whole.is_dir() else shutil.copy(whole, target)
    change(target, rng, subject.ground)
    last = _last(target, Asked(subject.public, run=False))
    keyless = _last(target, Asked(None, run=False)).mark is not Mark.FAIL
    if last.mark is Mark.FAIL:
        return Became(REFUSED, last.name, keyless=keyless)
    with snapshot(target) as copy:
        if contents(copy.folder) == contents(subject.folder):
            return Became(SAME, keyless=keyless)
    return Became(ACCEPTED, wrong=_last(target, Asked(subject.public)).mark is Mark.FAIL, keyless=keyless)


def _last(path: Path, asked: Asked) -> Finding:
    *_, last = findings(path, asked)
    return last


def of_store(subject: Subject, change: Change, rng: random.Random, room: Path) -> Became:
    """Change a copy of an entry and ask a store for it."""
    entry = rng.choice(subject.ground.entries)
    target = room / "store" / "artifacts" / entry.name[:2] / entry.name
    shutil.copytree(entry, target)
    change(target, rng, subject.ground)
    said: list[str] = []
    found = Store(room / "store", on_warning=said.append).get(entry.name)
    if found is None:
        return Became(REFUSED, "digests")
    same = all((entry / name).read_bytes() == found.path(name).read_bytes() for name in found.files)
    return Became(SAME) if same else Became(ACCEPTED, wrong=True)


def results(subject: Subject, numbers: Iterator[int], seed: int, folder: Path) -> Iterator[Result]:
    """One change after the other, the same for the same seed and number."""
    kinds = [(name, change) for table in (OF_FOLDERS, OF_ARCHIVES, OF_ENTRIES) for name, change in table.items()]
    kinds = kinds if subject.ground.entries else kinds[: -len(OF_ENTRIES)]
    for number in numbers:
        name, change = kinds[number % len(kinds)]
        rng = random.Random(f"{seed}-{number}")
        with tempfile.TemporaryDirectory(dir=folder) as room:
            try:
                if name in OF_ENTRIES:
                    found = of_store(subject, change, rng, Path(room))
                else:
                    whole = subject.folder if name in OF_FOLDERS else subject.archive
                    found = of_bundle(subject, whole, change, rng, Path(room))
                yield Result(number, name, found)
            except Exception as error:  # what is looked for
                kind = "refused with" if isinstance(error, VisionDeployError) else "not a typed error:"
                yield Result(number, name, Became(CRASHED, f"{kind} {type(error).__name__}: {str(error)[:200]}"))


def document(found: list[Result], changed: str, command: str) -> str:
    """The table, as Markdown; `changed` says of what."""
    kinds: dict[str, list[Became]] = defaultdict(list)
    for one in found:
        kinds[one.kind].append(one.became)
    rows = []
    for kind, of in kinds.items():
        by = Counter(became.by for became in of if became.outcome == REFUSED)
        counts = Counter(became.outcome for became in of)
        keyless = sum(became.keyless for became in of) if kind not in OF_ENTRIES else "–"
        rows.append(
            f"| {kind} | {len(of)} | {', '.join(f'{name} {count}' for name, count in by.most_common())} | "
            f"{counts[SAME]} | {counts[ACCEPTED]} | {sum(became.wrong for became in of)} | {keyless} |"
        )
    total = Counter(one.became.outcome for one in found)
    crashed = [f"- {one.kind}, number {one.number}: {one.became.by}" for one in found if one.became.outcome == CRASHED]
    here = capture(1)
    return f"""# Mutations of bundles and of the store

{len(found):,} mutations: {total[REFUSED]:,} refused, {total[SAME]} with the same files, **{total[ACCEPTED]} accepted,
{sum(one.became.wrong for one in found)} wrong numbers served**, {total[CRASHED]} crashes. {changed}

| mutation | number | refused by | same files | accepted | wrong numbers | without a key |
| --- | ---: | --- | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

{chr(10).join([*crashed, ""]) if crashed else ""}{(__doc__ or "").partition(chr(10))[2].strip()}

Made by `{command}`; {here.cpu}, Python {here.python}.
"""


def main() -> None:
    """Run the experiment and say what came out, as Markdown; exit code 1 where something was accepted or crashed."""
    parser = argparse.ArgumentParser(description="Mutations of a bundle and of the store.")
    parser.add_argument("build", type=Path, help="a measured build, as builds/unet-int8")
    parser.add_argument("--store", type=Path, default=None, help="the store whose entries are changed (default: yours)")
    parser.add_argument("--mutations", type=int, default=1000, help="in all (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--log", type=Path, help="results so far, one JSON a line; a run goes on where this ends")
    parser.add_argument("-o", "--out", type=Path, default=Path("mutations.md"), help="the table")
    arguments = parser.parse_args()
    found = []
    if arguments.log and arguments.log.exists():
        lines = arguments.log.read_text(encoding="utf-8").splitlines()
        found = [Result(number, kind, Became(*became)) for number, kind, became in map(json.loads, lines)]
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        subject = prepare(arguments.build, arguments.store or default_root(), Path(name))
        changed = subject.described()
        for result in results(subject, iter(range(len(found), arguments.mutations)), arguments.seed, Path(name)):
            found.append(result)
            if arguments.log:
                with arguments.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps([result.number, result.kind, result.became]) + "\n")
            if result.became.outcome in {ACCEPTED, CRASHED}:
                print(result, file=sys.stderr, flush=True)
    command = f"python benchmarks/experiments/mutations.py {arguments.build} --mutations {arguments.mutations}"
    text = document(found, changed, f"{command} --seed {arguments.seed}")
    write_atomic(arguments.out, text)
    print(text)
    sys.exit(any(one.became.outcome in {ACCEPTED, CRASHED} for one in found))


if __name__ == "__main__":
    main()
