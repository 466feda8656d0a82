import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visiondeploy.errors import InputError, UsageError, VisionDeployError
from visiondeploy.pipeline import recipe as module
from visiondeploy.pipeline.recipe import (
    DataSettings,
    InputSettings,
    LimitSettings,
    ModelSettings,
    Recipe,
    available_recipes,
    load_recipe,
    parse_recipe,
    resolve,
)
from visiondeploy.types import Precision, Settings

SMALL = 'name = "mine"\ntask = "segmentation"\n[model]\nname = "unet"\n'
JARGON = ("pydantic", "http", "validation error", "Input should", "extra_forbidden", "type=", "Traceback")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    return path


def sentence(call: Callable[[], object], kind: type[VisionDeployError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert not any(word in text for word in JARGON)
    assert len(text) < 400
    return text


class TestGood:
    def test_defaults(self) -> None:
        found = parse_recipe(SMALL, "mine.toml")
        assert (found.name, found.task, found.model.name) == ("mine", "segmentation", "unet")
        assert (found.precision, found.backend) == (Precision.FP32, "auto")
        assert found.limits == LimitSettings()

    def test_all_kinds_of_values(self) -> None:
        found = parse_recipe(
            'precision = "fp16"\n' + SMALL + 'options = {width = 64, up = "transpose", norm = true, rate = 0.5}\n'
            "[input]\nheight = 360\nmean = [0, 0.5, 1]\n[limits]\nmax_drop = 1\n",
            "mine.toml",
        )
        assert found.precision is Precision.FP16
        assert found.model.options == {"width": 64, "up": "transpose", "norm": True, "rate": 0.5}
        assert [type(value) for value in found.model.options.values()] == [int, str, bool, float]
        assert found.input.mean == (0.0, 0.5, 1.0)
        assert found.limits.max_drop == 1.0

    def test_is_frozen(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            parse_recipe(SMALL, "mine.toml").limits.agreement = 0.1

    def test_byte_order_mark(self, file: Path) -> None:
        file.write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
        assert load_recipe(file).name == "mine"

    def test_imports_no_heavy_runtime(self) -> None:
        code = (
            "import sys, visiondeploy.pipeline.recipe\n"
            "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'rich', 'tensorrt'} & set(sys.modules)\n"
            "sys.exit(str(heavy) if heavy else 0)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


BAD: list[tuple[str, str, str]] = [
    # unknown keys
    ("", "[limits]\nagremeent = 0.9", "there is no key 'limits.agremeent': did you mean 'limits.agreement'?"),
    ("precison = 'fp16'\n", "", "there is no key 'precison': did you mean 'precision'?"),
    ("agreement = 0.9\n", "", "there is no key 'agreement': did you mean 'limits.agreement'?"),
    ("", "[data]\nsteps = 9", "there is no key 'data.steps': did you mean 'train.steps'?"),
    ("", "[trian]\nheight = 9", "there is no key 'trian.height': did you mean 'train.height'?"),
    ("", "[limit]\nagreement = 0.9", "there is no key 'limit.agreement': did you mean 'limits.agreement'?"),
    ("", "[limit]\nagreement = 0.9\nstrict = true", "there is no key 'limit': did you mean 'limits'?"),
    ("", "[input]\ncolour = 3", "known are input.height, input.width, input.mean, input.std."),
    ("", '"a\\nb" = 1', "there is no key 'model.a\\nb'"),
    ("", f'"{"n" * 300}" = 1', "there is no key 'model.nnnn"),
    # wrong types
    ("precision = 16\n", "", "precision is 16, expected one of fp32, fp16, int8, fp8: did you mean 'fp16'?"),
    ("precision = 'int9'\n", "", "precision is 'int9', expected one of fp32, fp16, int8, fp8: did you mean 'int8'?"),
    ("precision = 'bf'\n", "", "precision is 'bf', expected one of fp32, fp16, int8, fp8."),
    ("backend = 5\n", "", 'backend is 5, expected text: write "5".'),
    ("limits = 5\n", "", f"limits is 5, expected a section with the keys {', '.join(LimitSettings.model_fields)}."),
    ("", "[limits]\nstrict = 1", "limits.strict is 1, expected true or false."),
    ("", "[limits]\nstrict = 'yes'", "limits.strict is 'yes', expected true or false: write true."),
    ("", "[limits]\nagreement = true", "limits.agreement is true, expected a number from 0 to 1."),
    ("", "[limits]\nagreement = '0.9'", "expected a number from 0 to 1: write 0.9, without quotes."),
    ("", "[limits]\nagreement = '95%'", "limits.agreement is '95%', expected a number from 0 to 1: write 0.95."),
    ("", "[limits]\nmax_drop = '1.5 %'", "limits.max_drop is '1.5 %', expected a number from 0 to 100: write 1.5."),
    ("", "[input]\nheight = '95%'", "input.height is '95%', expected a whole number from 1 to 16384."),
    ("", "[input]\nheight = 512.0", "input.height is 512.0, expected a whole number from 1 to 16384."),
    ("", "[input]\nheight = 1999-01-01", "input.height is '1999-01-01', expected a whole number from 1 to 16384."),
    ("", "[input]\nmean = 5", "input.mean is 5, expected a list of 3 values, each a number."),
    ("", "[input]\nmean = [1, 2]", "input.mean is [1, 2], expected a list of 3 values, each a number."),
    ("", "[input]\nmean = [1, 2, 3, 4]", "input.mean is [1, 2, 3, 4], expected a list of 3 values"),
    ("", "[input]\nstd = [1, 'a', 1]", "input.std[1] is 'a', expected a number above 0."),
    ("", "[model.options]\nwidths = [1, 2]", "model.options.widths is [1, 2], expected true or false, a whole number"),
    ("", "[model.options]\na = {int = 1}", "model.options.a is a section, expected true or false"),
    # values out of range
    ("", "[input]\nheight = -4", "input.height is -4, expected a whole number from 1 to 16384."),
    ("", "[input]\nheight = 0", "input.height is 0, expected"),
    ("", f"[input]\nheight = {'9' * 400}", "input.height is a number of more than 18 digits, expected"),
    ("", f"[input]\nheight = 0x{'f' * 9000}", "a number has thousands of digits"),
    ("", "[input]\nstd = [1, 0, 1]", "input.std[1] is 0, expected a number above 0."),
    ("", "[limits]\nagreement = 1.01", "limits.agreement is 1.01, expected a number from 0 to 1."),
    ("", "[limits]\nagreement = nan", "limits.agreement is nan, expected a finite number from 0 to 1."),
    ("", "[limits]\nexport_sqnr_db = -inf", "limits.export_sqnr_db is -inf, expected a finite number."),
    ("", "[input]\nmean = [0, nan, 0]", "input.mean[1] is nan, expected a finite number."),
    ("", "[model.options]\nrate = inf", "model.options.rate is inf, expected a finite number."),
    ("", "checkpoint = ''", "model.checkpoint is '', expected text that is not empty."),
    ("backend = 'a b'\n", "", "backend is 'a b': expected a name of 1 to 64 letters"),
    ("backend = 'a\\nb'\n", "", "expected a name of 1 to 64 letters"),
    ('backend = "a\\nb"\n', "", "backend is 'a\\nb': expected a name of 1 to 64 letters"),
    ("backend = '../up'\n", "", "expected a name of 1 to 64 letters"),
    (f"backend = '{'n' * 300}'\n", "", "…': expected a name of 1 to 64 letters"),
    ("", f"x = 1\ncheckpoint = {'[' * 150}{']' * 150}", "there is no key 'model.x'"),
    # several
    ("", "[limits]\nagreement = 2\nmax_drop = -1\nstrict = 0", "from 0 to 1 (and 2 more)."),
    ("", "[limits]\nagreement = 2\nmaxdrop = 1", "did you mean 'limits.max_drop'? (and 1 more)"),
    ("", "[model.options]\na = [1]\nb = [2]", "(and 1 more)"),
]


class TestBadKeysAndValues:
    @pytest.mark.parametrize(("before", "after", "words"), BAD)
    def test_sentence(self, before: str, after: str, words: str) -> None:
        text = sentence(lambda: parse_recipe(before + SMALL + after, "mine.toml"))
        assert text.startswith("mine.toml: ")
        assert words in text

    def test_missing_keys(self) -> None:
        text = sentence(lambda: parse_recipe("", "mine.toml"))
        assert text == "mine.toml: the key 'name' is missing, expected is text: add it (and 2 more)."
        text = sentence(lambda: parse_recipe(SMALL.replace("name = ", "nmae = ", 1), "mine.toml"))
        assert "there is no key 'nmae': did you mean 'name'?" in text


class TestBadFiles:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"name = 'a'\nb = '\xff'", "mine.toml is not UTF-8 (line 2): save it as UTF-8 text."),
            (SMALL.encode("utf-16"), "mine.toml is not UTF-8 (line 1)"),
            (b"\x89PNG\r\n\x1a\n\x00", "mine.toml is not UTF-8 (line 1)"),
            (b"name = 'a'\n\nb = = 1", "mine.toml is not TOML: Invalid value (at line 3, column 5); mend that line."),
            (b"name = 'a'\nname = 'b'", "(at line 2, column"),
            (b"name = ", "mine.toml is not TOML: Invalid value (at line 1, column 8); mend that line."),
            (b"a = " + b"[" * 10_000, "mine.toml is nested too deep"),
            (b"a = " + b"9" * 5000, "mine.toml has a number of thousands of digits"),
            (b"# " + b"x" * (1 << 20), "mine.toml is larger than 1 MB"),
        ],
    )
    def test_content(self, file: Path, content: bytes, words: str) -> None:
        file.write_bytes(content)
        assert words in sentence(lambda: load_recipe(file), InputError)

    def test_path(self, tmp_path: Path) -> None:
        absent = tmp_path / "none.toml"
        assert f"there is no file {absent}" in sentence(lambda: load_recipe(absent), InputError)
        assert f"{tmp_path} is a folder" in sentence(lambda: load_recipe(tmp_path), InputError)
        assert "null byte" in sentence(lambda: load_recipe("a\0b.toml"), InputError)
        assert "cannot be read: File name too long" in sentence(lambda: load_recipe(Path("n" * 300)), InputError)


class TestSet:
    @pytest.mark.parametrize(
        ("override", "key", "value"),
        [
            ("precision=fp16", ("precision",), Precision.FP16),
            ('precision="fp16"', ("precision",), Precision.FP16),
            (" limits.agreement = 0.5 ", ("limits", "agreement"), 0.5),
            ("limits={agreement = 0.5}", ("limits", "agreement"), 0.5),
            ("limits.strict=true", ("limits", "strict"), True),
            ("input.std=[1, 2, 3]", ("input", "std"), (1.0, 2.0, 3.0)),
            ("data.dataset=folder:../a b=c", ("data", "dataset"), "folder:../a b=c"),
            ("data.dataset=2024-01-01", ("data", "dataset"), "2024-01-01"),
            ('name="123"', ("name",), "123"),
        ],
    )
    def test_reaches_every_field(self, file: Path, override: str, key: tuple[str, ...], value: object) -> None:
        found: object = resolve(None, file, [override], {})
        for part in key:
            found = getattr(found, part)
        assert found == value

    def test_options_of_the_network_are_free(self, file: Path) -> None:
        found = resolve(None, file, ["model.options.width=32", "model.options.up=bilinear"], {})
        assert found.model.options == {"width": 32, "up": "bilinear"}

    def test_the_last_wins_over_options_and_file(self, file: Path) -> None:
        file.write_text(SMALL + "[input]\nheight = 1\nwidth = 1\nmean = [1, 1, 1]\n")
        found = resolve(None, file, ["input.width=3", "input.width=4"], {"input.height": 2, "input.width": 2})
        assert found.input == InputSettings(height=2, width=4, mean=(1, 1, 1))

    @pytest.mark.parametrize(
        ("override", "words"),
        [
            ("precision", "--set precision has no '=': write it as section.key=value"),
            ("", "--set  has no '='"),
            ("=5", "--set =5 has an empty key"),
            (".a=5", "has an empty key"),
            ("limits.=5", "has an empty key"),
            ("limits..agreement=5", "has an empty key"),
            ("limits=5", "--set limits=5: limits is 5, expected a section with the keys agreement, "),
            ("name.x=5", "--set name.x=5: name is a section, expected text."),
            ("limit.agreement=5", "there is no key 'limit.agreement': did you mean 'limits.agreement'?"),
            ("limits.agremeent=5", "--set limits.agremeent=5: there is no key 'limits.agremeent': did you mean"),
            ("agreement=5", "did you mean 'limits.agreement'?"),
            ("limits.agreement=95%", "--set limits.agreement=95%: limits.agreement is '95%'"),
            ("limits.agreement=95%", ": write 0.95."),
            ("limits.agreement=nan", "limits.agreement is nan, expected a finite number from 0 to 1."),
            ("limits.agreement=", "limits.agreement is '', expected a number from 0 to 1."),
            ("limits.agreement=1\nprecision='fp16'", "limits.agreement is \"1\\nprecision='fp16'\", expected a number"),
            ("precision=fp17", "precision is 'fp17', expected one of fp32, fp16, int8, fp8: did you mean 'fp16'?"),
            ("name=123", "name is 123, expected text: write '\"123\"'."),
            ("name=\udc80", "name is not UTF-8"),
            ("model.options.\udc80=1", "is not UTF-8"),
            (f"{'n' * 300}=1", "there is no key 'nnn"),
        ],
    )
    def test_sentence(self, file: Path, override: str, words: str) -> None:
        assert words in sentence(lambda: resolve(None, file, [override], {}))

    def test_says_where_a_value_came_from(self, file: Path) -> None:
        file.write_text(SMALL + "[limits]\nagreement = 2\n")
        assert sentence(lambda: resolve(None, file, ["limits.max_drop=1"], {"input.height": 4})).startswith(f"{file}: ")
        text = sentence(lambda: resolve(None, file, [], {"limits.agreement": 3}))
        assert text.startswith("command line: limits.agreement is 3, ")
        text = sentence(lambda: resolve(None, file, ["limits.agreement=4"], {"limits.agreement": 3}))
        assert text.startswith("--set limits.agreement=4: limits.agreement is 4, ")


class TestResolve:
    @pytest.fixture(autouse=True)
    def packaged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "recipes"
        folder.mkdir()
        for name in ("unet", "deeplab"):
            (folder / f"{name}.toml").write_text(SMALL.replace("mine", name))
        (folder / "README.md").write_text("")
        monkeypatch.setattr(module, "_packaged", lambda: folder)

    def test_packaged(self) -> None:
        assert available_recipes() == ("deeplab", "unet")
        assert load_recipe("unet").name == resolve("unet", None, [], {}).name == "unet"
        assert load_recipe("unet") == parse_recipe(SMALL.replace("mine", "unet"), "x")

    def test_text_with_a_slash_or_suffix_is_a_file(self, file: Path) -> None:
        assert load_recipe(str(file)) == load_recipe(file)

    def test_options(self) -> None:
        found = resolve(
            "unet",
            None,
            [],
            {"model.checkpoint": Path("a/b"), "precision": Precision.INT8, "input.mean": (1, 2, 3), "backend": None},
        )
        assert (found.model.checkpoint, found.precision, found.backend) == ("a/b", Precision.INT8, "auto")
        assert found.input.mean == (1.0, 2.0, 3.0)

    @pytest.mark.parametrize(
        ("override", "key"),
        [("train.steps=3", "train.steps"), ("augment.hflip=0", "augment.hflip"), ("model.options.depth=2", "model.")],
    )
    def test_a_checkpoint_and_how_to_train_exclude_each_other(self, override, key) -> None:
        text = sentence(lambda: resolve("unet", None, [override], {"model.checkpoint": "mine"}))
        assert text.startswith(f"--set {override}: {key}")
        assert text.endswith("but the network comes from the checkpoint mine: leave one of the two away.")
        assert resolve("unet", None, [], {"model.checkpoint": "mine"}).model.checkpoint == "mine"

    def test_unknown_network(self) -> None:
        text = sentence(lambda: resolve("unit", None, [], {}))
        assert text == "there is no network 'unit': did you mean 'unet'? Known: deeplab, unet."
        assert "there is no network 'a�b'" in sentence(lambda: resolve("a\nb", None, [], {}))
        assert len(sentence(lambda: load_recipe("n" * 3000))) < 200
        assert "there is no network '..'" in sentence(lambda: load_recipe(".."))

    def test_names_the_packaged_recipe(self) -> None:
        text = sentence(lambda: resolve("unet", None, ["model={}", "model=5"], {}))
        assert text.startswith("--set model=5: model is 5, expected a section with the keys name")

    def test_both_or_none(self, file: Path) -> None:
        assert "--model and --recipe were both given" in sentence(lambda: resolve("unet", file, [], {}))
        text = sentence(lambda: resolve(None, None, [], {}))
        assert "give --model with one of deeplab, unet or an ONNX file, or --recipe" in text


@pytest.mark.parametrize("name", available_recipes())
def test_each_packaged_recipe_is_good(name: str) -> None:
    assert load_recipe(name).name == name


numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
free = st.dictionaries(st.text(), st.booleans() | st.integers(-(2**63), 2**63 - 1) | numbers | st.text(), max_size=4)
recipes = st.builds(
    Recipe,
    name=names,
    task=names,
    precision=st.sampled_from(Precision),
    backend=names,
    model=st.builds(ModelSettings, name=names, checkpoint=st.none() | st.text(min_size=1), options=free),
    data=st.builds(DataSettings, dataset=st.text(min_size=1), val=st.text(min_size=1), options=free),
    input=st.builds(
        InputSettings,
        height=st.integers(1, 16384),
        width=st.integers(1, 16384),
        mean=st.tuples(numbers, numbers, numbers),
        std=st.tuples(positive, positive, positive),
    ),
    limits=st.builds(
        LimitSettings,
        agreement=st.floats(0, 1),
        export_sqnr_db=numbers,
        max_drop=st.floats(0, 100),
        strict=st.booleans(),
    ),
)


class TestOnnxFile:
    """`--model FILE.onnx` is a recipe of its own."""

    def test_is_named_after_the_file_and_fed_pixels_of_0_to_1(self) -> None:
        found = resolve("nets/My painter (2).onnx", None, [], {"task": "style"})
        assert (found.name, found.model.name, found.model.onnx) == ("My-painter-2-", "onnx", "nets/My painter (2).onnx")
        assert (found.input.mean, found.input.std) == ((0, 0, 0), (1, 1, 1))
        assert resolve("é.onnx", None, [], {"task": "style"}).name == "onnx"

    def test_the_recipe_may_say_otherwise(self) -> None:
        given = ["input.mean=[0.5, 0.5, 0.5]", "model.feeds.w=[1, 0]", "model.feeds.n=3", "model.black_white=[0, 255]"]
        found = resolve("a.onnx", None, given, {"task": "style", "precision": "int8"})
        assert (found.input.mean, found.precision) == ((0.5, 0.5, 0.5), Precision.INT8)
        assert (found.model.feeds, found.model.black_white) == ({"w": (1, 0), "n": 3}, (0, 255))
        assert Recipe.model_validate_json(found.model_dump_json()) == found
        assert parse_recipe(found.to_toml(), "again") == found

    def test_bad_values_are_one_sentence(self) -> None:
        def of(*overrides: str, **options: object) -> str:
            return sentence(lambda: resolve("a.onnx", None, overrides, options))

        assert of() == "a.onnx does not say what it is for: add --task style."
        assert "model.feeds.w is 'much', expected a number" in of("model.feeds.w=much", task="style")
        assert "model.black_white is [1], expected a list of 2 values" in of("model.black_white=[1]", task="style")
        assert of("train.steps=3", task="style").startswith("--set train.steps=3: train.steps is for networks that are")


class TestRoundTrip:
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(recipes)
    def test_toml(self, made: Recipe) -> None:
        text = made.to_toml()
        again = parse_recipe(text, "again")
        assert again == made
        assert again.to_toml() == text
        assert all(type(again.model.options[key]) is type(value) for key, value in made.model.options.items())

    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(recipes)
    def test_json(self, made: Recipe) -> None:
        assert Recipe.model_validate_json(made.model_dump_json()) == made

    def test_a_field_that_may_be_none_is_none_by_default(self) -> None:
        """TOML has no null, so a None that is not the default would be lost."""
        sections: list[type[Settings]] = [Recipe]
        for section in sections:
            for field in section.model_fields.values():
                kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
                assert type(None) not in kinds or field.default is None
                sections += [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)]
        assert len(sections) > 4

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.text(max_size=40), st.sampled_from([*Recipe.model_fields, "limits.agreement", "input.std", "model.name"]))
    def test_any_text_after_set_is_taken_or_explained(self, value: str, key: str) -> None:
        path = Path(__file__).parent / "data" / "small.toml"
        text = ""
        try:
            resolve(None, path, [f"{key}={value}"], {})
        except UsageError as error:
            text = str(error)
        assert "\n" not in text
        assert not any(word in text for word in JARGON if word not in value)
