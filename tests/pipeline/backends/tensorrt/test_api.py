"""Each name of TensorRT that the backend uses exists in the flavours that are installed.

A GPU would show that they do what is expected of them; that they exist can be seen without one.
"""

from __future__ import annotations

import ast
import importlib.util
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

MODULES = ("builder.py", "runtime.py")
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
        ("EngineInspector", "get_engine_information"),
        ("IRuntimeConfig", "cuda_graph_strategy"),
    } <= used()
    assert len(used()) > 40


def test_each_exists(trt) -> None:
    missing = []
    for path in sorted(used()):
        if trt.__name__ == "tensorrt" and (path[0] in ONLY_RTX or path[-1] in ONLY_RTX):
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
