"""SBOM, provenance, model card and MLServer's settings of real bundles."""

from __future__ import annotations

import hashlib
import json

import pytest
from kit.bundling import bundled, saying, subject

from visiondeploy.pipeline.bundle.manifest import MANIFEST, Manifest, Role
from visiondeploy.pipeline.bundle.pages import page_of
from visiondeploy.pipeline.bundle.provenance import without_paths


@pytest.fixture(params=["openvino", "onnxruntime"])
def made(request):
    return request.getfixturevalue(f"of_{request.param}")


@pytest.fixture
def manifest(made) -> Manifest:
    return Manifest.from_json((made / MANIFEST).read_bytes())


class TestSbom:
    @pytest.fixture
    def sbom(self, made):
        return json.loads((made / "sbom.cdx.json").read_text())

    def test_it_is_cyclonedx(self, made) -> None:
        validation = pytest.importorskip("cyclonedx.validation.json")
        from cyclonedx.schema import SchemaVersion

        text = (made / "sbom.cdx.json").read_text()
        assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        broken = text.replace('"machine-learning-model"', '"machine"')
        assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None

    def test_the_model_is_what_it_describes(self, sbom, manifest) -> None:
        model = sbom["metadata"]["component"]
        assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "toy-fp32", "1")
        card = model["modelCard"]
        assert card["modelParameters"]["task"] == "segmentation"
        assert card["modelParameters"]["inputs"] == [{"format": "float32 [-1, 3, 32, 48] image"}]
        types = [metric["type"] for metric in card["quantitativeAnalysis"]["performanceMetrics"]]
        assert types == ["miou", "miou, difference to the baseline"]

    def test_runtimes_and_files_are_components(self, sbom, manifest) -> None:
        found = {one["name"]: one for one in sbom["components"]}
        for package, version in manifest.target.runtimes.items():
            assert found[package]["purl"] == f"pkg:pypi/{package}@{version}"
        for entry in (*manifest.of(Role.ENGINE), *manifest.of(Role.SOURCE)):
            assert found[entry.path]["hashes"] == [{"alg": "SHA-256", "content": entry.sha256}]
        refs = {one["bom-ref"] for one in sbom["components"]}
        assert set(sbom["dependencies"][0]["dependsOn"]) == refs


class TestProvenance:
    @pytest.fixture
    def statement(self, made):
        return json.loads((made / "provenance.json").read_text())

    def test_its_subjects_are_the_files_of_the_bundle(self, made, statement, manifest) -> None:
        named = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        assert named == {entry.path: entry.sha256 for entry in manifest.files if entry.role is not Role.PROVENANCE}
        assert all(hashlib.sha256((made / name).read_bytes()).hexdigest() == digest for name, digest in named.items())

    def test_it_is_slsa(self, statement) -> None:
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
        assert statement["predicate"].keys() == {"buildDefinition", "runDetails"}
        assert statement["predicate"]["runDetails"]["builder"]["id"]

    def test_it_has_recipe_data_tools_and_stages(self, statement, floats) -> None:
        build = json.loads((floats / "build.json").read_text())
        definition = statement["predicate"]["buildDefinition"]
        assert definition["externalParameters"]["recipe"]["model"]["name"] == "unet"
        assert definition["internalParameters"]["commit"] is None
        materials = {one["name"]: one for one in definition["resolvedDependencies"]}
        assert materials["network"]["digest"]["sha256"] == build["build"]["network"]
        assert materials["data synthetic, split val, judged on"]["digest"]["sha256"] == build["build"]["validation"]
        assert materials["openvino"]["uri"].startswith("pkg:pypi/openvino@")
        stages = statement["predicate"]["runDetails"]["byproducts"]
        assert [one["name"] for one in stages] == [f"stage {stage['name']}" for stage in build["build"]["stages"]]
        assert [one["annotations"]["key"] for one in stages] == [stage["key"] for stage in build["build"]["stages"]]

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("folder:/data/streets", "folder:streets"),
            ("folder:/data/streets/", "folder:streets"),
            ("/home/ada/net", "net"),
            ("../up/net.onnx", "net.onnx"),
            ("C:\\ada\\net.onnx", "C:net.onnx"),
            ("synthetic", "synthetic"),
            (["a/b", {"c": "d/e"}, 3, None, True], ["b", {"c": "e"}, 3, None, True]),
            ("http://host/x", "http:x"),
        ],
    )
    def test_paths_are_shortened_to_their_last_part(self, value, said) -> None:
        assert without_paths(value) == said


class TestCard:
    @pytest.fixture
    def card(self, made) -> str:
        return (made / "MODEL_CARD.md").read_text()

    def test_it_answers_what_is_asked_of_a_model(self, card) -> None:
        titles = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
        assert titles == [
            "Verdict",
            "What it is",
            "Inputs and outputs",
            "Data",
            "Measured",
            "How to run it",
            "Golden runs",
            "Limits",
            "Licence",
            "Not measured",
        ]

    def test_numbers_have_their_intervals(self, card, manifest) -> None:
        assert f"This bundle holds `toy-fp32-{manifest.engine.backend}`" in card
        assert "95 % CI" in card
        assert "interval" in card
        assert "**PASS: " in card

    def test_it_says_what_goes_in_and_what_was_not_looked_at(self, card) -> None:
        assert "| input | image | float32 | −1×3×32×48 | NCHW | −2.118 … 2.64 | an image, RGB |" in card
        assert "- The 99th percentile of latency." in card
        assert "does not record under which licence" in card

    def test_every_version_that_it_needs_is_named(self, card, manifest) -> None:
        for package, version in manifest.target.runtimes.items():
            assert f"pip install '{package}=={version}'" in card


def test_mlserver_finds_the_bundle_and_its_tensors(made) -> None:
    settings = json.loads((made / "mlserver" / "model-settings.json").read_text())
    place = (made / "mlserver" / settings["parameters"]["uri"]).resolve()
    assert (place / MANIFEST).is_file()
    assert settings["implementation"] == "visiondeploy.pipeline.serving.mlserver.BundleRuntime"
    assert settings["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 32, 48]}]
    assert settings["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 8, 32, 48]}]


def test_the_report_is_the_builds(made, floats) -> None:
    report = json.loads((made / "report" / "report.json").read_text())
    build = json.loads((floats / "build.json").read_text())
    build.pop("build")
    assert report == build
    assert (made / "report" / "report.html").read_text() == page_of(subject(floats).report, "toy-fp32")


def test_what_was_forced_and_not_measured_is_said(floats, tmp_path) -> None:
    def unsaid(content) -> None:
        for row in content["rows"]:
            row |= {"peak_rss_bytes": None, "quality": None}
        check = {"name": "toy: runs", "limit": "ok", "found": "", "status": "INCONCLUSIVE"}
        content["verdict"] = {"status": "INCONCLUSIVE", "checks": [check]}

    target = bundled(saying(floats, tmp_path / "build", unsaid), tmp_path / "out", force=True).path
    card = (target / "MODEL_CARD.md").read_text()
    for said in ("- Quality of the engine.", "- Peak memory.", "- Enough for a verdict: see there.", "`--force`"):
        assert said in card
    model = json.loads((target / "sbom.cdx.json").read_text())["metadata"]["component"]["modelCard"]
    assert "quantitativeAnalysis" not in model
