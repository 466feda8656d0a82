"""What is said of two tensors, and of all of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiondeploy.benchmarks.report.schema import AgreementRow
from visiondeploy.pipeline.differences import Comparison, Difference, TensorMeter, said


def tensors(seed: int, noise: float, count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for scale in 2.0 ** np.arange(count):
        reference = (scale * rng.normal(size=(1, 4, 6, 5))).astype(np.float32)
        pairs.append((reference, reference + (noise * rng.normal(size=reference.shape)).astype(np.float32)))
    return pairs


def measured(pairs) -> tuple[AgreementRow, float | None]:
    meter = TensorMeter()
    for reference, candidate in pairs:
        meter.update(reference, candidate)
    return meter.result()


class TestMeter:
    @given(seed=st.integers(0, 100), noise=st.floats(1e-3, 10))
    def test_sums_are_taken_over_all_samples(self, seed, noise) -> None:
        pairs = tensors(seed, noise)
        found, cosine = measured(pairs)
        ours, theirs = (np.concatenate([pair[side].ravel() for pair in pairs]).astype(float) for side in (0, 1))
        error = ours - theirs
        assert found.sqnr_db == pytest.approx(10 * math.log10((ours @ ours) / (error @ error)))
        assert found.max_abs == np.abs(error).max()
        assert cosine == pytest.approx((ours @ theirs) / math.sqrt((ours @ ours) * (theirs @ theirs)))
        assert found.samples == len(pairs)

    def test_polygraphy_says_the_same_of_one_sample(self) -> None:
        from polygraphy.comparator import Comparator, IterationResult, RunResults, compare
        from polygraphy.logger import G_LOGGER

        (pair,) = tensors(0, 0.1, count=1)
        results = RunResults()
        for name, value in zip("ab", pair, strict=True):
            results.append((name, [IterationResult({"x": value}, runner_name=name)]))
        funcs = [
            compare.SnrCompareFunc(),
            compare.CosineSimilarityCompareFunc(),
            compare.SimpleCompareFunc(check_error_stat="max"),
        ]
        with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
            snr, cosine, simple = (
                found["a", "b"][0]["x"] for found in Comparator.compare_accuracy(results, compare_func=funcs)
            )
        ours, our_cosine = measured([pair])
        assert ours.sqnr_db == pytest.approx(snr.snr, abs=1e-4)
        assert our_cosine == pytest.approx(cosine.cosine_similarity, abs=1e-6)
        assert ours.max_abs == pytest.approx(simple.max_absdiff)

    def test_equal_tensors_have_no_error(self) -> None:
        ((reference, _),) = tensors(0, 0.1, count=1)
        found, cosine = measured([(reference, reference)])
        assert (found.exact, found.max_abs, said(found)) == (True, 0, "no error")
        assert cosine == pytest.approx(1)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("side", [0, 1])
    def test_one_value_that_is_no_number_is_said_of_the_whole(self, bad, side) -> None:
        pairs = tensors(0, 0.1)
        pairs[1][side][0, 0, 0, 0] = bad
        found, cosine = measured(pairs)
        assert (found.finite, found.sqnr_db, cosine, found.samples) == (False, None, None, 3)
        assert said(found) == "NaN or infinity"

    def test_zeros(self) -> None:
        zero, one = np.zeros((1, 2)), np.ones((1, 2))
        assert measured([(zero, zero)])[1] == 1
        found, cosine = measured([(zero, one)])
        assert (said(found), cosine) == ("zero in the reference alone", 0)


def row(sqnr_db: float) -> AgreementRow:
    return AgreementRow(exact=True, samples=1) if math.isinf(sqnr_db) else AgreementRow(sqnr_db=sqnr_db, samples=1)


def comparison(*layers: float | AgreementRow, outputs: float = 40, limit: float = 20) -> Comparison:
    rows = [found if isinstance(found, AgreementRow) else row(found) for found in layers]
    return Comparison(
        reference="a/onnx-fp32",
        candidate="a/onnx-int8-cpu",
        images=1,
        limit_db=limit,
        limit_pixels=0.98,
        layers=tuple(
            Difference(name=f"layer{place}", kind="Conv", tensor=f"t{place}", agreement=found, cosine=None)
            for place, found in enumerate(rows)
        ),
        outputs=row(outputs),
        left_out={},
        notes=(),
    )


NAN = AgreementRow(finite=False, samples=1)
CONCLUSIONS = [
    (comparison(60, 18.24, 12, outputs=38.2), "first layer below 20 dB: layer1 (18.2 dB); the outputs have 38.2 dB"),
    (comparison(60, NAN, 12), "first layer below 20 dB: layer1 (NaN or infinity); the outputs have 40.0 dB"),
    (
        comparison(60, 25, 30, outputs=38.2),
        "no layer is below 20 dB, the lowest is layer1 (25.0 dB); the outputs have 38.2 dB",
    ),
    (
        comparison(60, 25, outputs=14.8),
        "no layer is below 20 dB, the lowest is layer1 (25.0 dB), yet the outputs have 14.8 dB: what is fused as they "
        "run, and not where tensors are read, is at fault",
    ),
    (comparison(math.inf, math.inf, outputs=math.inf), "no layer differs, and neither do the outputs"),
    (comparison(outputs=30), "no inner tensor could be compared; the outputs have 30.0 dB"),
]


class TestComparison:
    @pytest.mark.parametrize(("found", "sentence"), CONCLUSIONS)
    def test_is_put_in_a_sentence(self, found, sentence) -> None:
        assert found.conclusion == sentence

    @pytest.mark.parametrize(
        ("found", "diverges"),
        [
            (comparison(60, 20), False),
            (comparison(60, 19.9), True),
            (comparison(60, NAN), True),
            (comparison(60, outputs=19.9), True),
            (comparison(math.inf, outputs=math.inf), False),
            (comparison(outputs=20), False),
        ],
    )
    def test_diverges_where_a_layer_or_the_outputs_are_below_the_limit(self, found, diverges) -> None:
        assert found.diverges == diverges

    def test_its_json_is_the_same_content(self) -> None:
        found = comparison(60, 18.2, NAN, outputs=math.inf)
        content = json.loads(found.to_json())
        assert content["schema"] == "visiondeploy.comparison/1"
        assert (content["first"], content["worst"], content["diverges"]) == ("layer1", "layer2", True)
        assert content["conclusion"] == found.conclusion
        kept = {name: content[name] for name in content if name not in {"first", "worst", "diverges", "conclusion"}}
        assert Comparison.model_validate(kept) == found


@pytest.mark.parametrize(("share", "diverges"), [(0.99, False), (0.1, True)])
def test_class_maps_are_held_to_the_share_that_agrees(share, diverges) -> None:
    """They have no SQNR, and of a runtime that gives no inner tensors nothing else is compared."""
    found = comparison().model_copy(update={"outputs": AgreementRow(outputs="classes", pixels=share, samples=1)})
    assert found.diverges is diverges
