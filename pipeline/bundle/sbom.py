"""`sbom.cdx.json`: CycloneDX 1.6. The model with its card is what the document describes, its runtimes are components.

https://cyclonedx.org/docs/1.6/json/. The same bundle gives the same document: it has no timestamp, and its serial
number is made of the digests of the engine.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from visiondeploy.benchmarks.report.schema import Quality, Row
from visiondeploy.pipeline.bundle.manifest import Contract, FileEntry, Role, Target
from visiondeploy.pipeline.bundle.provenance import without_paths
from visiondeploy.pipeline.bundle.subject import Subject

FILE = "sbom.cdx.json"
SPEC = "1.6"
MODEL = "model"


def sbom_of(
    subject: Subject, name: str, version: int, contract: Contract, target: Target, files: Iterable[FileEntry]
) -> str:
    """The document over an engine and its source: JSON with sorted keys and a final newline."""
    entries = [entry for entry in files if entry.role in {Role.ENGINE, Role.SOURCE}]
    runtimes = [
        {"type": "library", "bom-ref": f"pkg:pypi/{package}@{found}", "name": package, "version": found,
         "purl": f"pkg:pypi/{package}@{found}", "scope": "required"}
        for package, found in sorted(target.runtimes.items())
    ]  # fmt: skip
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "serialNumber": f"urn:uuid:{_serial(name, version, entries)}",
        "metadata": {
            "tools": {"components": [_tool(subject.record.visiondeploy)]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": MODEL,
                "name": name,
                "version": str(version),
                "description": f"{subject.engine.precision} engine of {subject.engine.backend}",
                "modelCard": _card(subject, contract),
            },
        },
        "components": [*runtimes, *(_file(entry) for entry in entries)],
        "dependencies": [
            {"ref": MODEL, "dependsOn": [*(one["bom-ref"] for one in runtimes), *(f"file:{e.path}" for e in entries)]}
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def _serial(name: str, version: int, entries: Iterable[FileEntry]) -> uuid.UUID:
    content = "\n".join([name, str(version), *(f"{entry.path} {entry.sha256}" for entry in entries)])
    return uuid.uuid5(uuid.NAMESPACE_URL, content)


def _tool(version: str) -> dict[str, Any]:
    return {"type": "application", "name": "visiondeploy", "version": version, "licenses": _licence("Apache-2.0")}


def _licence(name: str) -> list[dict[str, Any]]:
    return [{"license": {"id": name}}]


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def _file(entry: FileEntry) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{entry.path}",
        "name": entry.path,
        "hashes": [_hash(entry.sha256)],
        "description": entry.role.value,
    }


def _card(subject: Subject, contract: Contract) -> dict[str, Any]:
    recipe, spec = subject.record.recipe, subject.spec
    data = recipe["data"]
    metrics = [metric for quality in _judged(subject.row) for metric in _metrics(quality)]
    return {
        "modelParameters": {
            "task": contract.task,
            "architectureFamily": "convolutional neural network",
            "modelArchitecture": spec.architecture,
            "datasets": [
                {
                    "type": "dataset",
                    "name": str(without_paths(data["dataset"])),
                    "description": (
                        f"trained on {data['train']}, calibrated on {data['calibration']}, judged on {data['val']}"
                    ),
                }
            ],
            "inputs": [{"format": f"{tensor.dtype} {list(tensor.shape)} {tensor.name}"} for tensor in contract.inputs],
            "outputs": [
                {"format": f"{tensor.dtype} {list(tensor.shape)} {tensor.name}"} for tensor in contract.outputs
            ],
        },
        **({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}),
        "properties": [
            {"name": "visiondeploy:precision", "value": subject.engine.precision.value},
            {"name": "visiondeploy:verdict", "value": subject.verdict.status.value},
            {"name": "visiondeploy:network", "value": subject.record.network},
            {"name": "visiondeploy:trained_steps", "value": str(spec.trained_steps)},
        ],
    }


def _judged(row: Row) -> tuple[Quality, ...]:
    return () if row.quality is None else (row.quality, *row.more)


def _metrics(quality: Quality) -> list[dict[str, Any]]:
    """The metric, and its difference to the baseline with the interval of that."""
    difference: dict[str, Any] = {"type": f"{quality.metric}, difference to the baseline", "value": repr(quality.delta)}
    if quality.ci95 is not None:
        low, high = quality.ci95
        difference["confidenceInterval"] = {"lowerBound": repr(low), "upperBound": repr(high)}
    return [{"type": quality.metric, "value": repr(quality.value)}, difference]
