"""An objective with a teacher: for a network of fewer channels, and with fake quantisation as fine-tuning for int8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from visiondeploy.errors import InputError, UsageError
from visiondeploy.models.checkpoint import Network, new_network
from visiondeploy.models.distilled import DistilledObjective
from visiondeploy.models.losses import distillation_loss
from visiondeploy.models.qat import FakeQuantised
from visiondeploy.models.settings import AugmentSettings, DistilSettings, FinetuneSettings, QatSettings
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
    taught = DistilSettings(temperature=settings.temperature, features=0, affinity=0, task_weight=settings.task_weight)
    return DistilledObjective(task, teacher, taught)


def balanced() -> Network:
    """Random weights that give either class to about half of the pixels."""
    network = new_network(SPEC, seed=0)
    feeds = Segmentation(SPEC).preprocess([Noise()[0]])
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
        rounded, plain = (task.metrics[0].value(validate(module, task, Noise())) for module in (fake, fake.network))
        assert trained.history[-1]["miou"] == rounded != plain

    def test_a_message_names_the_settings_of_its_own_section(self, tmp_path) -> None:
        with pytest.raises(InputError, match=r"lower qat\.learning_rate"):
            run(tmp_path, QatSettings(steps=60, batch_size=2, learning_rate=1e30, clip_norm=1e30), Noise())


def compressed(seed: int = 1) -> nn.Module:
    """A network of half the channels."""
    spec = SPEC.model_copy(update={"options": {"base_width": 2, "depth": 2}})
    return new_network(spec, seed).module.train()


def taught(student: nn.Module | None, **weights: float) -> DistilledObjective:
    task = SegmentationObjective(SPEC, FinetuneSettings(), AugmentSettings())
    return DistilledObjective(task, balanced().module, DistilSettings(**weights), student)


ALL = {"logits": 1.0, "features": 2.0, "affinity": 3.0, "task_weight": 0.5}
NAMES = {"logits": {"distillation"}, "features": {"features"}, "affinity": {"affinity"}}
NAMES["task_weight"] = {"cross_entropy", "dice"}


class TestFeatures:
    def test_a_network_of_half_the_channels_comes_to_give_what_the_teacher_gives(self, batch) -> None:
        student = compressed()
        learns = taught(student, task_weight=0)
        optimizer = torch.optim.AdamW(student.parameters(), 2e-2)
        found = []
        for _ in range(25):
            terms = learns.loss(student, *batch)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            found.append({name: float(term.detach()) for name, term in terms.items()})
        assert found[0].keys() == {"loss", "distillation", "features", "affinity"}
        assert all(found[-1][name] < 0.7 * found[0][name] for name in found[0])

    @pytest.mark.parametrize("term", ["features", "affinity"])
    def test_each_term_alone_reaches_the_layers_before_it(self, batch, term: str) -> None:
        student = compressed()
        weights = dict.fromkeys(ALL, 0.0) | {term: 1.0}
        taught(student, **weights).loss(student, *batch)["loss"].backward()
        assert student.encoder[0][0].weight.grad.abs().max() > 0
        assert student.head.weight.grad is None

    def test_of_the_teacher_itself_differ_by_nothing(self, batch) -> None:
        same = balanced().module.eval()
        terms = taught(same).loss(same, *batch)
        assert all(float(terms[name].detach()) == pytest.approx(0, abs=1e-5) for name in NAMES if name in terms)

    @pytest.mark.parametrize("without", ALL)
    def test_a_weight_of_nothing_leaves_a_term_out(self, batch, without: str) -> None:
        student = compressed()
        whole = taught(student, **ALL).loss(student, *batch)
        terms = taught(student, **ALL | {without: 0.0}).loss(student, *batch)
        assert terms.keys() == whole.keys() - NAMES[without]
        found = {name: float(term.detach()) for name, term in terms.items()}
        assert found.pop("loss") == pytest.approx(sum(found.values()))

    def test_weights_scale_their_terms(self, batch) -> None:
        student = compressed()
        one, two = (taught(student, **{name: times * ALL[name] for name in ALL}) for times in (1, 2))
        first, second = (learns.loss(student, *batch) for learns in (one, two))
        for name in first:
            assert float(second[name].detach()) == pytest.approx(2 * float(first[name].detach()), rel=1e-4)

    def test_one_pass_of_the_student_serves_all_terms(self, batch) -> None:
        student = compressed()
        learns = taught(student, **ALL)
        calls = []
        student.register_forward_hook(lambda *_: calls.append(1))
        learns.loss(student, *batch)
        assert len(calls) == 1

    def test_the_task_alone_asks_no_teacher(self, batch) -> None:
        learns = taught(None, logits=0, features=0, affinity=0, task_weight=1)
        learns.teacher.register_forward_hook(lambda *_: pytest.fail("the teacher ran"))
        assert learns.loss(compressed(), *batch).keys() == {"loss", "cross_entropy", "dice"}

    def test_a_student_whose_modules_have_other_names_is_told_what_to_do(self) -> None:
        with pytest.raises(UsageError, match=r"set distil\.features and distil\.affinity to 0"):
            taught(nn.Sequential(nn.Conv2d(3, 2, 1)))

    def test_the_student_may_be_wrapped_for_several_processes(self, batch) -> None:
        distributed = torch.distributed
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        try:
            gradients = []
            for wrap in (nn.parallel.DistributedDataParallel, nn.Sequential):
                student = compressed()
                taught(student, **ALL).loss(wrap(student), *batch)["loss"].backward()
                gradients.append([weight.grad for weight in student.parameters()])
        finally:
            distributed.destroy_process_group()
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*gradients, strict=True))

    def test_a_compressed_network_is_trained_by_the_loop(self, tmp_path) -> None:
        settings = FinetuneSettings(steps=3, batch_size=2)
        student = compressed()
        network, task = Network(student, SPEC), SegmentationObjective(SPEC, settings, AugmentSettings())
        learns = DistilledObjective(task, balanced().module, settings.distil, student)
        learnt = train(
            network, Segmentation(SPEC), learns, Noise(), Noise(), settings, tmp_path, tmp_path / "log", lambda *_: None
        )
        assert learnt.history[-1]["miou"] >= 0
        assert not any(inner._forward_hooks for inner in learnt.network.module.modules())


class TestSettings:
    def test_that_teach_nothing_are_refused(self) -> None:
        with pytest.raises(ValueError, match="are all 0, so that nothing is learnt"):
            DistilSettings(**dict.fromkeys(ALL, 0.0))

    @pytest.mark.parametrize("name", ["temperature", *ALL])
    def test_have_no_negative_values(self, name: str) -> None:
        with pytest.raises(ValueError, match="greater than"):
            DistilSettings(**{name: -1.0})
