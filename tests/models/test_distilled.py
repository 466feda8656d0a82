"""An objective with a teacher, in the training loop, with fake quantisation as fine-tuning for int8 uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from visiondeploy.errors import InputError
from visiondeploy.models.checkpoint import Network, new_network
from visiondeploy.models.distilled import DistilledObjective
from visiondeploy.models.losses import distillation_loss
from visiondeploy.models.qat import FakeQuantised
from visiondeploy.models.settings import AugmentSettings, QatSettings
from visiondeploy.models.spec import InputSpec, NetworkSpec
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.models.tasks.segmentation_objective import SegmentationObjective
from visiondeploy.models.training import Trained, train, validate
from visiondeploy.types import Sample

SPEC = NetworkSpec(
    architecture="unet",
    options={"base_width": 4, "depth": 2},
    classes=("dark", "bright"),
    palette=((0, 0, 0), (255, 255, 255)),
    ignore_index=255,
    input=InputSpec(height=16, width=16),
)


@dataclass
class Noise:
    """Images of noise; their truth is whether a pixel is bright, unless they have none."""

    name: str = "val"
    labelled: bool = True

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Sample:
        image = np.random.default_rng(index).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        return Sample(f"{index}", image, (image[..., 0] > 127).astype(np.uint8) if self.labelled else None)


def objective(settings: QatSettings, teacher: nn.Module) -> DistilledObjective:
    task = SegmentationObjective(SPEC, settings, AugmentSettings(), needs_labels=settings.task_weight > 0)
    return DistilledObjective(task, teacher, settings.temperature, settings.task_weight)


def balanced() -> Network:
    """Random weights that give either class to about half of the pixels."""
    network = new_network(SPEC, seed=0)
    feeds = Segmentation(SPEC).preprocess([Noise()[0].image])
    with torch.inference_mode():
        network.module.head.bias -= network.module.eval()(torch.from_numpy(feeds["image"])).mean(dim=(0, 2, 3))
    return network


class Stopped(Exception):
    pass


def run(folder: Path, settings: QatSettings, data: Noise, stop_at: int | None = None, weight_bits: int = 8) -> Trained:
    def report(done: int, total: int, note: str) -> None:
        if done == stop_at:
            raise Stopped

    network = balanced()
    fake = FakeQuantised(network.module, (16, 16), weight_bits, settings.tracked)
    learns = objective(settings, network.module)
    return train(
        Network(fake, SPEC), Segmentation(SPEC), learns, data, Noise(), settings, folder, folder / "log", report
    )


@pytest.fixture
def batch():
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return images, (images[:, 0] > 0).long()


class TestLoss:
    def test_of_the_teachers_own_logits_is_nothing(self, batch) -> None:
        logits = torch.randn(2, 5, 4, 4)
        assert float(distillation_loss(logits, logits, 2.0)) == pytest.approx(0, abs=1e-6)

    def test_is_the_divergence_in_nats(self) -> None:
        """Teacher 3/4 to 1/4, student even: KL = 3/4·ln(3/2) + 1/4·ln(1/2)."""
        taught = torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1)
        expected = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
        assert float(distillation_loss(torch.zeros(1, 2, 1, 1), taught, 1.0)) == pytest.approx(expected)
        assert float(distillation_loss(torch.zeros(1, 2, 1, 1), 7 * taught, 7.0)) == pytest.approx(49 * expected)

    def test_sums_what_it_names(self, batch) -> None:
        module = new_network(SPEC, seed=1).module
        terms = objective(QatSettings(steps=1, task_weight=0.5), new_network(SPEC, seed=0).module).loss(module, *batch)
        assert terms.keys() == {"loss", "distillation", "cross_entropy", "dice"}
        found = {name: float(term.detach()) for name, term in terms.items()}
        assert found.pop("loss") == pytest.approx(sum(found.values()))
        own = SegmentationObjective(SPEC, QatSettings(), AugmentSettings()).loss(module, *batch)
        assert found["dice"] == pytest.approx(0.5 * float(own["dice"].detach()), rel=1e-4)

    def test_leaves_the_teacher_as_it_is(self, batch) -> None:
        module = new_network(SPEC, seed=0).module.train()
        learns = objective(QatSettings(steps=1), module)
        before = {name: tensor.clone() for name, tensor in learns.teacher.state_dict().items()}
        learns.loss(module, *batch)["loss"].backward()
        assert all(weight.grad is not None for weight in module.parameters())
        assert all(weight.grad is None for weight in learns.teacher.parameters())
        assert all(torch.equal(tensor, before[name]) for name, tensor in learns.teacher.state_dict().items())


class TestTraining:
    def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights_and_ranges(self, tmp_path) -> None:
        settings = QatSettings(steps=8, batch_size=2, save_every=3, validate_every=4)
        for name in ("whole", "cut"):
            (tmp_path / name).mkdir()
        whole = run(tmp_path / "whole", settings, Noise())
        with pytest.raises(Stopped):
            run(tmp_path / "cut", settings, Noise(), stop_at=5)
        resumed = run(tmp_path / "cut", settings, Noise())
        assert resumed.resumed_from == 3
        assert [entry["step"] for entry in resumed.history] == [4, 8]
        found = resumed.network.module.state_dict()
        for name, tensor in whole.network.module.state_dict().items():
            assert torch.allclose(tensor.float(), found[name].float(), atol=1e-5), name

    def test_ranges_are_frozen_at_the_end(self, tmp_path) -> None:
        settings = QatSettings(steps=8, batch_size=2, freeze_share=0.5)
        ranges = run(tmp_path, settings, Noise()).network.module.ranges
        assert {int(found.seen) for found in ranges} == {4}

    def test_without_the_tasks_loss_no_image_needs_a_mask(self, tmp_path) -> None:
        trained = run(tmp_path, QatSettings(steps=2, batch_size=2, task_weight=0), Noise(labelled=False))
        assert trained.history[-1]["miou"] >= 0
        with pytest.raises(InputError, match="has no mask: training needs one"):
            run(tmp_path, QatSettings(steps=3, batch_size=2), Noise(labelled=False))

    def test_the_metric_on_the_way_is_that_of_the_rounded_network(self, tmp_path) -> None:
        """Weights of two bits are −1, 0 and 1 times a scale: another network."""
        trained = run(tmp_path, QatSettings(steps=3, batch_size=2), Noise(), weight_bits=2)
        task, fake = Segmentation(SPEC), trained.network.module
        rounded, plain = (task.value(validate(module, task, Noise())) for module in (fake, fake.network))
        assert trained.history[-1]["miou"] == rounded != plain

    def test_a_message_names_the_settings_of_its_own_section(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"lower qat\.learning_rate"):
            run(tmp_path, QatSettings(steps=60, batch_size=2, learning_rate=1e30, clip_norm=1e30), Noise())
