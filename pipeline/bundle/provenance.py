"""`provenance.json`: an in-toto Statement v1 whose predicate is SLSA provenance v1, as far as the build knows it.

It says of every file of the bundle what it was made from: the recipe, the data, the tools, and each stage with the key
of its inputs in the store. It holds no times, hosts or paths; what a build does not record is null.
https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from visiondeploy.pipeline.bundle.manifest import FileEntry
from visiondeploy.pipeline.bundle.subject import Subject

FILE = "provenance.json"

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:visiondeploy:deploy-build:1"
BUILDER = "urn:visiondeploy:deploy"


def provenance_of(subject: Subject, files: Iterable[FileEntry]) -> str:
    """The statement over files of a bundle: JSON with sorted keys and a final newline."""
    record, environment = subject.record, subject.report.environment
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": entry.path, "digest": {"sha256": entry.sha256}} for entry in files],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"recipe": without_paths(record.recipe), "backend": subject.engine.backend},
                # Of a package that was installed there is a version, and of its sources nobody knows a commit.
                "internalParameters": {"commit": None, "machine": environment.machine, "isa": list(environment.isa)},
                "resolvedDependencies": [*_materials(subject), *_tools(environment.versions)],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"visiondeploy": record.visiondeploy}},
                "byproducts": [
                    {
                        "name": f"stage {stage.name}",
                        "digest": {"sha256": stage.digest},
                        "annotations": {"key": stage.key},
                    }
                    for stage in record.stages
                ],
            },
        },
    }
    return json.dumps(statement, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def without_paths(value: Any) -> Any:
    """A value of a recipe, with the last part alone of what looks like a path: "folder:/a/b" becomes "folder:b"."""
    if isinstance(value, Mapping):
        return {str(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        kind, colon, place = value.partition(":")
        if not colon or "/" in kind or "\\" in kind:
            kind, colon, place = "", "", value
        return kind + colon + place.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return value


def _materials(subject: Subject) -> list[dict[str, Any]]:
    """Network and data, by what the build knows them: the digest of the split that it was judged on, and so on."""
    record, graph = subject.record, subject.spec.graph
    data = without_paths(record.recipe["data"]["dataset"])
    found = [
        _material("network", record.network),
        _material(f"data {data}, split {record.recipe['data']['val']}, judged on", record.validation),
    ]
    sampled = {stage.name: stage.meta.get("digest") for stage in record.stages}.get("sample")
    if isinstance(sampled, str):
        found.append(_material(f"data {data}, split {record.recipe['data']['calibration']}, calibrated on", sampled))
    if graph is not None:
        found.append(_material(f"file {graph.file}", graph.sha256))
    if subject.spec.style is not None:
        names = zip(subject.spec.style.names, subject.spec.style.digests, strict=True)
        found += [_material(f"painting {name}", digest) for name, digest in names]
    return found


def _material(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _tools(versions: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "uri": f"pkg:pypi/{name}@{version}"} for name, version in sorted(versions.items())]
