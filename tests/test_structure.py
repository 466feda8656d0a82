"""What holds for the package as a whole: who imports what, and what is in the wheel."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import visiondeploy

ROOT = Path(__file__).resolve().parents[1]
RUNTIMES = ("torch", "torchvision", "torch_pruning", "accelerate", "onnx", "onnxscript", "onnxruntime", "openvino")
RUNTIMES += ("tensorrt", "tensorrt_rtx", "pycuda", "mlserver", "oras", "pytriton")

# They define what cannot be said without the runtime, and are imported inside the functions that need them.
OF_TORCH = {
    "visiondeploy.models.augment",
    "visiondeploy.models.compression.allocation",
    "visiondeploy.models.compression.dependencies",
    "visiondeploy.models.compression.importance",
    "visiondeploy.models.compression.latency_table",
    "visiondeploy.models.compression.replay",
    "visiondeploy.models.compression.separable",
    "visiondeploy.models.compression.steps",
    "visiondeploy.models.compression.structure",
    "visiondeploy.models.dataflow",
    "visiondeploy.models.deeplabv3",
    "visiondeploy.models.distillation_pictures",
    "visiondeploy.models.distilled",
    "visiondeploy.models.feature_distillation",
    "visiondeploy.models.feature_fitting",
    "visiondeploy.models.feature_objective",
    "visiondeploy.models.efficientnet_lite",
    "visiondeploy.models.forward",
    "visiondeploy.models.gatys",
    "visiondeploy.models.gatys_loss",
    "visiondeploy.models.hints",
    "visiondeploy.models.losses",
    "visiondeploy.models.mobile_features",
    "visiondeploy.models.monitor",
    "visiondeploy.models.perceptual",
    "visiondeploy.models.qat",
    "visiondeploy.models.resume",
    "visiondeploy.models.served",
    "visiondeploy.models.style_adain",
    "visiondeploy.models.style_blocks",
    "visiondeploy.models.style_multi",
    "visiondeploy.models.style_net",
    "visiondeploy.models.tasks.segmentation_objective",
    "visiondeploy.models.tasks.style_objective",
    "visiondeploy.models.training",
    "visiondeploy.models.unet",
    "visiondeploy.models.vgg",
}
OF_ONNX = {
    "visiondeploy.calibration.adaround",
    "visiondeploy.calibration.bias",
    "visiondeploy.calibration.codes",
    "visiondeploy.calibration.equalise",
    "visiondeploy.calibration.extremes",
    "visiondeploy.calibration.graph",
    "visiondeploy.calibration.kernels",
    "visiondeploy.calibration.layers",
    "visiondeploy.calibration.level",
    "visiondeploy.calibration.observe",
    "visiondeploy.calibration.patches",
    "visiondeploy.calibration.phases",
    "visiondeploy.calibration.placement",
    "visiondeploy.calibration.probe",
    "visiondeploy.calibration.qdq",
    "visiondeploy.calibration.rewrite",
    "visiondeploy.calibration.shuffles",
    "visiondeploy.calibration.transposed",
    "visiondeploy.calibration.upsampling",
    "visiondeploy.calibration.search",
    "visiondeploy.calibration.sensitivity",
}
# Servers import them, in environments of their own.
OF_SERVERS = {"visiondeploy.pipeline.serving.mlserver", "visiondeploy.pipeline.serving.triton_model"}

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # an import of it is an ImportError
for name in sys.argv[2].split(","):
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(f"{name}: {error}")
"""


def modules() -> list[str]:
    """Every module of the package, by the files that are there."""
    package = Path(visiondeploy.__file__).parent
    found = []
    for folder, folders, files in os.walk(package, followlinks=True):
        folders[:] = sorted(name for name in folders if (Path(folder) / name / "__init__.py").exists())
        parts = Path(folder).relative_to(package.parent).parts
        found += [".".join((*parts, file[:-3])) for file in files if file.endswith(".py") and file != "__init__.py"]
        found.append(".".join(parts))
    return sorted(found)


def complaints(without: tuple[str, ...], names: set[str]) -> str:
    command = [sys.executable, "-c", IMPORT_ALL, ",".join(without), ",".join(sorted(names))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class TestImports:
    def test_the_modules_are_found(self) -> None:
        named = {*OF_TORCH, *OF_ONNX, *OF_SERVERS}
        assert {"visiondeploy.pipeline.cli.build", "visiondeploy.types", *named} < set(modules())

    def test_only_the_named_modules_need_a_runtime(self) -> None:
        assert complaints(RUNTIMES, set(modules()) - OF_TORCH - OF_ONNX - OF_SERVERS) == ""

    def test_those_of_onnx_need_no_other(self) -> None:
        others = tuple(name for name in RUNTIMES if name != "onnx")
        assert complaints(others, OF_ONNX) == ""

    def test_no_generic_name_lands_in_site_packages(self) -> None:
        code = """
from importlib.util import find_spec
print([name for name in ("benchmarks", "calibration", "models", "pipeline") if find_spec(name)])
"""
        done = subprocess.run([sys.executable, "-I", "-c", code], cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestSafety:
    """What reads files of others runs no code that is in them."""

    @pytest.fixture(scope="class")
    @staticmethod
    def trees() -> dict[str, ast.Module]:
        folders = ("src/visiondeploy", "models", "calibration", "benchmarks", "pipeline")
        files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
        return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in files}

    def test_no_module_imports_what_unpickles(self, trees) -> None:
        imported = {
            (name, alias.name.partition(".")[0] if isinstance(node, ast.Import) else str(node.module).partition(".")[0])
            for name, tree in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert imported
        assert not [
            pair for pair in imported if pair[1] in {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
        ]

    def test_checkpoints_of_others_are_loaded_without_code(self, trees) -> None:
        """`torch.load` is called with `weights_only`, and nothing with `allow_pickle`."""
        calls = [
            (
                f"{name}:{node.lineno}",
                ast.unparse(node.func),
                {word.arg: ast.unparse(word.value) for word in node.keywords},
            )
            for name, tree in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
        ]
        loads = [call for call in calls if call[1] == "torch.load"]
        assert loads
        assert not [call for call in loads if call[2].get("weights_only") != "True"]
        assert not [call for call in calls if call[2].get("allow_pickle", "False") != "False"]

    def test_archives_are_not_extracted_by_the_standard_library(self, trees) -> None:
        """Its `extract` follows links, and lets through what `pipeline/bundle/archive.py` refuses."""
        names = [
            f"{name}:{node.lineno}"
            for name, tree in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in {"extractall", "extract", "unpack_archive"}
        ]
        assert names == []


class TestWheel:
    @pytest.fixture(scope="class")
    @staticmethod
    def names(tmp_path_factory) -> list[str]:
        """The names in a wheel that is built from a copy, since building leaves files behind."""
        try:
            here = metadata.version("setuptools")
        except metadata.PackageNotFoundError:
            here = "0"
        if int(here.split(".")[0]) < 77:
            pytest.skip("setuptools 77 or newer is not installed here, and getting it needs a network")
        source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        for name in ("src", "benchmarks", "calibration", "models", "pipeline"):
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "results")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", out, "."]
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (wheel,) = out.iterdir()
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist()

    def test_all_of_it_is_below_the_import_name(self, names) -> None:
        tops = {name.split("/")[0] for name in names}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"visiondeploy"}

    def test_every_module_is_in_it(self, names) -> None:
        kept = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names}
        assert set(modules()) <= kept

    def test_so_is_what_is_read_at_run_time(self, names) -> None:
        recipes = {f"visiondeploy/pipeline/recipes/{path.name}" for path in (ROOT / "pipeline" / "recipes").iterdir()}
        suites = {f"visiondeploy/benchmarks/suites/{path.name}" for path in (ROOT / "benchmarks" / "suites").iterdir()}
        assert recipes
        assert suites
        page = ROOT / "benchmarks" / "report" / "html"
        files = (path for path in page.rglob("*") if path.suffix in {".css", ".js", ".html"})
        parts = {f"visiondeploy/{path.relative_to(ROOT)}" for path in files}
        assert len(parts) > 4
        assert {"visiondeploy/py.typed", *recipes, *suites, *parts} <= set(names)

    def test_no_tests_and_no_caches_are(self, names) -> None:
        assert not [name for name in names if "test" in name or "__pycache__" in name]
