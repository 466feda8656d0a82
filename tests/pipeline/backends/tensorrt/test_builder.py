"""Real builds by TensorRT-RTX, which needs no GPU for them. That the engines run is for a GPU to show."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from kit import graphs
from kit.rtx import NETWORKS, needs_rtx, save

from visiondeploy.errors import EnvironmentMismatch, InputError, UsageError
from visiondeploy.pipeline.backends.onnx_file import products
from visiondeploy.pipeline.backends.tensorrt.builder import Plan, build, plain
from visiondeploy.pipeline.backends.tensorrt.flavour import TENSORRT_RTX
from visiondeploy.pipeline.backends.tensorrt.layers import parse_layers, realise
from visiondeploy.pipeline.backends.tensorrt.targets import FLOAT8, TARGETS
from visiondeploy.pipeline.engine import PLAIN, EngineSettings
from visiondeploy.types import Layer, Precision, TensorSpec

pytestmark = needs_rtx

AMPERE = ("sm_86",)
# Of their products: convolutions, transposed convolutions.
CONVOLUTIONS = {"unet": (11, 2), "style": (6, 0)}

POLYGRAPHY = """
import sys, hashlib
from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxPath, Profile
from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
import tensorrt_rtx as trt
shape = (1, 3, 32, 32)
config = CreateConfigRTX(
    compute_capabilities=[(8, 6)],
    profiles=[Profile().add("image", shape, shape, shape)],
    profiling_verbosity=trt.ProfilingVerbosity.DETAILED,
)
network = NetworkFromOnnxPath(sys.argv[1], strongly_typed=True)
print(hashlib.sha256(bytes(EngineBytesFromNetwork(network, config)())).hexdigest())
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders of the networks' graphs, by name and precision."""
    made: dict[tuple[str, Precision], Path] = {}

    def source(network: str, precision: Precision = Precision.FP32) -> Path:
        if (network, precision) not in made:
            made[network, precision] = save(NETWORKS[network](), precision, tmp_path_factory.mktemp(network))
        return made[network, precision] / "model.onnx"

    return source


def built(model: Path, *targets: str, **settings: object) -> Plan:
    return build(TENSORRT_RTX, model, EngineSettings(**settings), targets or AMPERE)


def fitting(precision: Precision) -> tuple[str, ...]:
    """GPUs that compute in a precision."""
    return ("sm_89",) if precision is Precision.FP8 else AMPERE


def layers(model: Path, plan: Plan) -> list[Layer]:
    return realise(products(model), parse_layers(plan.report), "cuda", tf32=False)


def matmul(folder: Path) -> Path:
    """A matrix product in fp32, which Turing does not have, and a convolution."""
    b = graphs.Builder()
    flat = b.op("Reshape", "image", b.constant(np.array([0, 3, 1024], np.int64)))
    product = b.op("MatMul", flat, b.constant(np.ones((1024, 1024), np.float32)))
    back = b.op("Reshape", product, b.constant(np.array([0, 3, 32, 32], np.int64)))
    onnx.save_model(b.model(b.conv(back, graphs.CLASSES)), folder / "model.onnx")
    return folder / "model.onnx"


class TestTypes:
    @pytest.mark.parametrize(
        ("network", "precision"), [pair for pair in product(NETWORKS, Precision) if pair != ("style", Precision.FP8)]
    )
    def test_each_product_is_in_the_type_of_its_graph(self, sources, network, precision) -> None:
        model = sources(network, precision)
        plan = built(model, *fitting(precision))
        convolutions, transposed = CONVOLUTIONS[network]
        wanted = Counter({("Conv", precision.value): convolutions})
        if transposed:
            # The scheme leaves them in float: TensorRT has no integer one.
            wanted["ConvTranspose", "fp32" if precision.quantised else precision.value] = transposed
        found = layers(model, plan)
        assert Counter((layer.kind, layer.compute) for layer in found) == wanted
        assert not [layer for layer in found if layer.fell_back]
        assert plan.data.startswith(b"vtrt")

    def test_a_kernel_that_is_too_large_for_fp8_runs_in_fp32_and_that_is_seen(self, sources) -> None:
        """9×9, of TensorRT-RTX 1.7.1: the first convolution and the last."""
        model = sources("style", Precision.FP8)
        found = layers(model, built(model, "sm_89"))
        assert [(layer.name, layer.compute) for layer in found if layer.fell_back] == [
            (layer.name, "fp32") for layer in (found[0], found[-1])
        ]

    def test_instance_norm_stays_in_fp32(self, sources) -> None:
        plan = built(sources("style", Precision.FP16))
        norms = [layer for layer in parse_layers(plan.report) if "Inor" in layer.name]
        assert len(norms) == 5
        assert {operand.type for layer in norms for operand in (*layer.inputs, *layer.outputs)} == {"fp32"}

    def test_on_turing_int8_runs_in_fp32_and_that_is_seen(self, sources) -> None:
        model = sources("unet", Precision.INT8)
        found = layers(model, built(model, "sm_75"))
        fallen = [layer.name for layer in found if layer.fell_back]
        assert fallen == [layer.name for layer in found if layer.kind == "Conv"]
        assert {(layer.wanted, layer.compute) for layer in found if layer.fell_back} == {("int8", "fp32")}

    def test_and_so_it_does_on_others_in_one_engine_with_it(self, sources) -> None:
        model = sources("unet", Precision.INT8)
        assert sum(layer.fell_back for layer in layers(model, built(model, "sm_75", "sm_86"))) == 11

    def test_half_is_smaller(self, sources) -> None:
        single, half = (len(built(sources("unet", p)).data) for p in (Precision.FP32, Precision.FP16))
        assert half < 0.9 * single


class TestTargets:
    @pytest.mark.parametrize("target", [name for name in TARGETS if name != "sm_75"])
    def test_int8_is_in_integers_on_each(self, sources, target) -> None:
        model = sources("unet", Precision.INT8)
        found = layers(model, built(model, target))
        assert sum(layer.compute == "int8" for layer in found) == CONVOLUTIONS["unet"][0]

    def test_with_pairs_on_the_branches_of_skips_too(self, tmp_path) -> None:
        model = save(graphs.unet(), Precision.INT8, tmp_path, scheme="tensorrt-branches") / "model.onnx"
        found = layers(model, built(model))
        assert sum(layer.compute == "int8" for layer in found) == CONVOLUTIONS["unet"][0]

    @pytest.mark.parametrize("target", FLOAT8)
    def test_fp8_is_in_fp8_on_each(self, sources, target) -> None:
        model = sources("unet", Precision.FP8)
        found = layers(model, built(model, target))
        assert sum(layer.compute == layer.wanted == "fp8" for layer in found) == CONVOLUTIONS["unet"][0]

    def test_engines_for_others_are_other_engines(self, sources) -> None:
        model = sources("unet")
        engines = [built(model, *targets).data for targets in (("sm_86",), ("sm_89",), ("sm_86", "sm_89"))]
        assert len(set(engines)) == 3

    def test_one_that_this_release_does_not_know(self, sources) -> None:
        with pytest.raises(EnvironmentMismatch, match=r"TensorRT-RTX 1\.\S+ does not build for sm_999: leave it away"):
            built(sources("unet"), "sm_86", "sm_999")

    def test_what_a_gpu_cannot_do_is_said_with_the_node(self, tmp_path) -> None:
        with pytest.raises(
            InputError, match=r"does not build model\.onnx for sm_75: .*MatMul.*FP32 GEMM is not support"
        ):
            built(matmul(tmp_path), "sm_75")


class TestBytes:
    @pytest.mark.parametrize("precision", Precision)
    def test_are_the_same_when_it_is_built_again(self, sources, precision) -> None:
        model = sources("unet", precision)
        assert built(model, *fitting(precision)).data == built(model, *fitting(precision)).data

    def test_do_not_depend_on_the_order_that_targets_have(self, sources) -> None:
        model = sources("unet")
        assert built(model, "sm_86", "sm_89").data == built(model, "sm_89", "sm_86").data

    @pytest.mark.parametrize(("failed", "next_"), [("sm_75", "sm_86"), ("sm_86", "sm_75")])
    def test_do_not_depend_on_a_build_that_failed_before(self, sources, tmp_path, failed, next_) -> None:
        """TensorRT-RTX itself takes the targets of the failed build for the next one."""
        model = sources("unet")
        before = built(model, next_).data
        if failed == "sm_75":
            with pytest.raises(InputError):
                built(matmul(tmp_path), failed)
        else:
            with pytest.raises(InputError):
                built(sources("unet"), failed, workspace_mib=1)
        assert built(model, next_).data == before

    def test_are_those_that_polygraphy_builds(self, sources) -> None:
        """An implementation that is not ours, from the same file with the same settings."""
        model = sources("style", Precision.FP16)
        done = subprocess.run(
            [sys.executable, "-c", POLYGRAPHY, str(model)],
            env=os.environ | {"POLYGRAPHY_USE_TENSORRT_RTX": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        # Its configuration of TensorRT-RTX has no switch for TF32, which is on.
        assert done.stdout.split()[-1] == hashlib.sha256(built(model, tf32=True).data).hexdigest()

    def test_tf32_is_not_used_unless_asked_for(self, sources) -> None:
        model = sources("unet")
        assert built(model).data != built(model, tf32=True).data


class TestProfiles:
    def test_without_one_the_batch_is_one(self, sources) -> None:
        profile = built(sources("unet")).profiles["image"]
        assert profile.min == profile.opt == profile.max == (1, 3, 32, 32)

    def test_the_engine_has_the_one_that_was_asked_for(self, sources) -> None:
        plan = built(sources("unet"), batch=(1, 2, 4))
        assert "MinShape: [1,3,32,32], OptShape: [2,3,32,32], MaxShape: [4,3,32,32]" in plan.report
        assert plan.inputs == (TensorSpec("image", "float32", ("batch", 3, 32, 32)),)
        assert plan.outputs == (TensorSpec("logits", "float32", ("batch", graphs.CLASSES, 32, 32)),)

    def test_of_raw_images(self, sources, tmp_path) -> None:
        """Bytes in, colours last, as graphs with their preprocessing take them."""
        model = onnx.load(sources("unet", Precision.FP16))
        graph, make = model.graph, onnx.helper.make_node
        name = graph.input[0].name
        graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("raw", onnx.TensorProto.UINT8, ["n", 32, 32, 3]))
        graph.node.insert(0, make("Cast", ["raw"], ["raw.float"], name="raw.cast", to=onnx.TensorProto.FLOAT))
        graph.node.insert(1, make("Transpose", ["raw.float"], [name], name="raw.transpose", perm=[0, 3, 1, 2]))
        onnx.save_model(model, tmp_path / "model.onnx")
        plan = built(tmp_path / "model.onnx", batch=(1, 1, 2))
        assert plan.inputs == (TensorSpec("raw", "uint8", ("batch", 32, 32, 3)),)
        assert plan.profiles["raw"].max == (2, 32, 32, 3)
        assert {layer.compute for layer in layers(tmp_path / "model.onnx", plan)} == {"fp16"}

    def test_one_that_contradicts_the_graph(self, sources) -> None:
        with pytest.raises(
            UsageError, match=r"engine\.height is \[64, 64, 64\], but the height of input 'image' is fixed"
        ):
            built(sources("unet"), height=(64, 64, 64))

    def test_the_builder_would_have_said_nothing(self) -> None:
        """What the check before it is for: −1, and an engine for a batch of none."""
        import tensorrt_rtx as trt

        from visiondeploy.pipeline.backends.tensorrt import builder

        log = builder.logger(trt)
        maker = trt.Builder(log)
        profile = maker.create_optimization_profile()
        profile.set_shape("image", (1, 3, 32, 32), (2, 3, 32, 32), (1, 3, 32, 32))
        assert maker.create_builder_config().add_optimization_profile(profile) == -1


class TestSettings:
    def test_too_little_workspace_is_said(self, sources) -> None:
        with pytest.raises(InputError, match=r"does not build model\.onnx for sm_86: .*(workspace|OutOfMemory)"):
            build(TENSORRT_RTX, sources("unet"), PLAIN.model_copy(update={"workspace_mib": 0}), AMPERE)

    def test_it_is_part_of_the_engine(self, sources) -> None:
        assert built(sources("unet")).data != built(sources("unet"), workspace_mib=512).data


class TestWhatDoesNotParse:
    def save(self, model: onnx.ModelProto, folder: Path) -> Path:
        onnx.save_model(model, folder / "model.onnx")
        return folder / "model.onnx"

    def test_half_a_file(self, sources, tmp_path) -> None:
        path = tmp_path / "model.onnx"
        whole = sources("unet").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match=r"TensorRT-RTX 1\.\S+ does not parse model\.onnx: .*Failed to parse"):
            built(path)

    @pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"0" * 100])
    def test_a_file_of_another_kind(self, content, tmp_path) -> None:
        """The parser takes both, and makes an empty network of them."""
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(InputError, match="has 0 inputs and 0 outputs: it is no ONNX network"):
            built(path)

    def test_an_operator_that_nobody_knows(self, tmp_path) -> None:
        b = graphs.Builder()
        model = b.model(b.conv("image", graphs.CLASSES, act=None))
        model.graph.node[0].op_type = "Convolution9"
        with pytest.raises(InputError, match=r"does not parse model\.onnx: node Conv0 \(Convolution9\): "):
            built(self.save(model, tmp_path))

    def test_codes_with_a_zero_point(self, sources, tmp_path) -> None:
        model = onnx.load(sources("unet", Precision.INT8))
        points = [t for t in model.graph.initializer if t.name.endswith("zero_point")]
        points[0].CopyFrom(onnx.numpy_helper.from_array(np.array(3, np.int8), points[0].name))
        with pytest.raises(InputError, match="on-zero zero point is not supported"):
            built(self.save(model, tmp_path))

    def test_integer_operators(self, tmp_path) -> None:
        b = graphs.Builder()
        model = b.model(b.conv("image", graphs.CLASSES, act=None))
        model.graph.node[0].op_type = "QLinearConv"
        with pytest.raises(InputError, match=r"does not parse model\.onnx: .*\(QLinearConv\)"):
            built(self.save(model, tmp_path))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("IBuilder::b: Error Code 4: API Usage Error (no. In v at /_src/a.cpp:4)", "API Usage Error (no)"),
        ("E: Error Code 1: Myelin ([pass.cpp:3: f] Cannot. In c at /_src/x/b.cpp:2)", "Myelin (Cannot)"),
        ("two\nlines  here.", "two lines here"),
        ("x" * 500, "x" * 400),
    ],
)
def test_a_message_is_made_one_line_for_people(message, said) -> None:
    assert plain(message) == said
