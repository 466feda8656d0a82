"""What is said of a comparison with the peers, from rows that were not measured here."""

from __future__ import annotations

import numpy as np
import torch
from kit import reports as kit

from visiondeploy.benchmarks.experiments.peers_methods import gather_statistics
from visiondeploy.benchmarks.experiments.peers_table import document, level
from visiondeploy.benchmarks.report.schema import AgreementRow, Report, Row, Speedup, Verdict
from visiondeploy.types import Outcome, Precision, Status

PASS, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE


def engine(name: str, sqnr_db: float | None, pixels: float, speedup: tuple[float, float, float], **more: object) -> Row:
    value, low, high = speedup
    return kit.row(
        name,
        "openvino",
        Precision.INT8,
        agreement=AgreementRow(sqnr_db=sqnr_db, pixels=pixels, **more),
        speedup=Speedup(value=value, ci95=(low, high)),
    )


def failed(name: str, backend: str = "openvino") -> Row:
    return kit.row(name, backend, Precision.INT8, status=Status.FAILED, reason="it has | no Resize")


PEER = engine("nncf-openvino", 30.0, 0.99, (6.0, 5.9, 6.1))
WORSE = engine("ort-default-openvino", 20.0, 0.95, (4.0, 3.9, 4.1))


def outcomes(*rows: Row) -> list[Outcome]:
    return [check.status for check in level(rows)]


class TestLevel:
    def test_within_the_tolerances_of_the_best_is_level(self) -> None:
        ours = engine("ours-openvino", 29.6, 0.9891, (5.8, 5.72, 5.9))
        assert outcomes(kit.baseline(), ours, WORSE, PEER) == [PASS, PASS, PASS]

    def test_each_is_held_against_its_own_best_peer(self) -> None:
        accurate = engine("ort-default-openvino", 40.0, 0.999, (4.0, 3.9, 4.1))
        ours = engine("ours-openvino", 29.6, 0.9891, (5.0, 4.9, 5.1))
        found = list(level([kit.baseline(), ours, accurate, PEER]))
        assert [check.status for check in found] == [FAIL, FAIL, FAIL]
        assert ["ort-default-openvino" in check.limit for check in found] == [True, True, False]

    def test_an_interval_over_the_limit_shows_nothing(self) -> None:
        ours = engine("ours-openvino", 31.0, 0.995, (5.7, 5.5, 5.9))
        assert outcomes(ours, PEER) == [PASS, PASS, INCONCLUSIVE]

    def test_equal_outputs_are_the_best_there_is_and_nan_the_worst(self) -> None:
        exact = engine("ours-openvino", None, 1.0, (6.0, 5.9, 6.1), exact=True)
        broken = engine("ours-openvino", None, 0.0, (6.0, 5.9, 6.1), finite=False)
        assert outcomes(exact, PEER) == [PASS, PASS, PASS]
        assert outcomes(broken, PEER) == [FAIL, FAIL, PASS]

    def test_a_peer_that_failed_or_runs_elsewhere_is_no_measure(self) -> None:
        ours = engine("ours-openvino", 10.0, 0.5, (1.0, 0.9, 1.1))
        elsewhere = PEER.model_copy(update={"name": "nncf-onnxruntime", "backend": "onnxruntime"})
        assert outcomes(ours, failed("nncf-openvino"), elsewhere) == []

    def test_ours_that_does_not_run_fails(self) -> None:
        assert outcomes(failed("ours-openvino"), PEER) == [FAIL]


def test_the_document_has_a_row_for_every_engine_and_says_why_one_failed() -> None:
    ours = engine("ours-openvino", 29.6, 0.9891, (5.8, 5.72, 5.9))
    rows = (kit.baseline(), ours, PEER, failed("ort-default-openvino"))
    report = Report(environment=kit.environment(), rows=rows, verdict=Verdict.of(level(rows)))
    text = document({"unet, base_width 4": report, "other": report}, "What this is.", "python peers.py")
    assert text.count("| nncf-openvino |") == 2
    assert "## unet, base\\_width 4\n" in text
    assert "| ort-default-openvino<br>failed |" in text
    assert "- ort-default-openvino failed: it has \\| no Resize" in text
    assert "| ours-openvino: SQNR | ≥ 29.5 dB (nncf-openvino less 0.5) | 29.6 dB | PASS |" in text
    assert text.endswith("Made by `python peers.py`.\n")


def test_batch_norm_gets_the_statistics_of_the_images_and_nothing_else_learns() -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5))
    generator = np.random.default_rng(0)
    images = generator.normal([[[[3.0]], [[-1.0]]]], 2.0, (9, 2, 8, 8)).astype(np.float32)
    gather_statistics(module, [{"image": image[None]} for image in images])
    assert torch.allclose(module[0].running_mean, torch.tensor(images[:8].mean(axis=(0, 2, 3))), atol=1e-4)
    assert torch.allclose(module[0].running_var, torch.tensor([4.0, 4.0]), rtol=0.15)
    assert module[0].momentum == 0.1
    assert torch.equal(module[0].weight, torch.ones(2))
    assert not any(layer.training for layer in module.modules())
