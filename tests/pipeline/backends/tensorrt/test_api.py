"""Each name of TensorRT that the backend uses exists in the flavours that are installed, and in published ones.

A GPU would show that they do what is expected of them; that they exist can be seen without one. The bindings on PyPI do
not import without NVIDIA's libraries, but have their names as text in their machine code. `published.json` is what was
found there; where another name is used, it is made anew from the wheels:

    pip download --no-deps 'tensorrt_cu13_bindings==11.4.*'
    python tests/pipeline/backends/tensorrt/test_api.py WHEEL… > tests/pipeline/backends/tensorrt/published.json
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
import zipfile
from pathlib import Path

import pytest

import visiondeploy.pipeline.backends.tensorrt as package
from visiondeploy.pipeline.backends.tensorrt.flavour import TENSORRT, TENSORRT_RTX
from visiondeploy.pipeline.backends.tensorrt.targets import TARGETS, member_of

CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "settings": "IRuntimeConfig",
    "tensor": "ITensor",
    "cache": "ITimingCache",
}
"""What variables of the two modules that talk to TensorRT are called, by the class of what they hold."""

MODULES = ("builder.py", "profiler.py", "runtime.py")
OURS = {"settings": {"batch", "workspace_mib", "builder_level", "tf32", "timing_cache"}, "error": {"strerror"}}
"""What else has such a name: the recipe's settings, and errors of the system."""

ONLY_RTX = {
    "IRuntimeConfig",
    "CudaGraphStrategy",
    "ComputeCapability",
    "create_runtime_config",
    "set_compute_capability",
    "num_compute_capabilities",
}
"""What is used of TensorRT-RTX alone."""


def used() -> set[tuple[str, ...]]:
    """Dotted names below the module: ("Builder",), ("BuilderFlag", "TF32"), ("Builder", "create_network")."""
    found: set[tuple[str, ...]] = set()
    for name in MODULES:
        for node in ast.walk(ast.parse((Path(package.__file__).parent / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                path = dotted(node)
                owner = path[-2].removeprefix("_") if len(path) > 1 else ""
                if path[0] == "trt":
                    found.add(path[1:])
                elif owner in CLASSES and path[-1] not in OURS.get(owner, set()):
                    found.add((CLASSES[owner], path[-1]))
    return found


def dotted(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.Attribute):
        return (*dotted(node.value), node.attr)
    return (node.id,) if isinstance(node, ast.Name) else ()


@pytest.fixture(params=[TENSORRT, TENSORRT_RTX], ids=lambda flavour: flavour.name)
def trt(request):
    if importlib.util.find_spec(request.param.module_name) is None:
        pytest.skip(f"{request.param.package} is not installed")
    return request.param.module()


def test_the_names_are_found_in_the_sources() -> None:
    """Or the test below would hold of nothing."""
    assert {
        ("Builder",),
        ("BuilderFlag", "TF32"),
        ("Builder", "build_serialized_network"),
        ("OnnxParser", "parse_from_file"),
        ("IBuilderConfig", "add_optimization_profile"),
        ("Runtime", "deserialize_cuda_engine"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_tensor_address"),
        ("IExecutionContext", "report_to_profiler"),
        ("IProfiler",),
        ("EngineInspector", "get_engine_information"),
        ("IRuntimeConfig", "cuda_graph_strategy"),
    } <= used()
    assert len(used()) > 40


def shared() -> set[str]:
    """The names that are used of both."""
    return {part for path in used() if not ONLY_RTX.intersection((path[0], path[-1])) for part in path}


def published(wheel: Path) -> list[str]:
    """Those of `shared` that a wheel's binding has. A name that ends another is not kept a second time."""
    with zipfile.ZipFile(wheel) as archive:
        binding = archive.read("tensorrt_bindings/tensorrt.so")
    return sorted(name for name in shared() if name.encode() + b"\0" in binding)


@pytest.mark.parametrize("release", ["10.16.1.11", "11.4.0.106"])
def test_each_is_published(release) -> None:
    known = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))
    assert shared() - set(known[release]) == set()


def test_each_exists(trt) -> None:
    missing = []
    for path in sorted(used()):
        if trt.__name__ == "tensorrt" and ONLY_RTX.intersection((path[0], path[-1])):
            continue
        found = trt
        for part in path:
            found = getattr(found, part, None)
        if found is None:
            missing.append(".".join(path))
    assert missing == []


def test_the_targets_are_those_that_it_knows(trt) -> None:
    if not hasattr(trt, "ComputeCapability"):
        pytest.skip("it builds for the GPU that is here")
    known = {name for name in trt.ComputeCapability.__members__ if name.startswith("SM")}
    assert known == {member_of(target) for target in TARGETS}


def test_a_release_is_a_version(trt) -> None:
    assert [part for part in trt.__version__.split(".") if not part.isdecimal()] == []


if __name__ == "__main__":
    print(json.dumps({Path(wheel).name.split("-")[1]: published(Path(wheel)) for wheel in sys.argv[1:]}, indent=1))
