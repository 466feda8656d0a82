"""What a style network learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.features import known
from kit.networks import spec_of
from kit.pictures import painting, photograph
from torch import Tensor

from visiondeploy.errors import UsageError
from visiondeploy.models.checkpoint import new_network
from visiondeploy.models.data.styled import Painting, StyledDataset, StyledSplit
from visiondeploy.models.data.synthetic import SyntheticDataset, SyntheticSettings
from visiondeploy.models.features import features_digest
from visiondeploy.models.settings import AugmentSettings, TrainSettings
from visiondeploy.models.tasks.style import Style
from visiondeploy.models.tasks.style_objective import StyleObjective
from visiondeploy.models.tasks.table import objective_of
from visiondeploy.models.training import train
from visiondeploy.types import Sample

PAINTINGS = [
    Painting("waves", painting(), "0" * 64),
    Painting("stars", np.ascontiguousarray(painting()[..., ::-1]), "1" * 64),
]
PLAIN = AugmentSettings(hflip=0, rotation=0, scale=(1, 1), brightness=0, contrast=0, saturation=0, hue=0, cutmix=0)
SAMPLE = Sample("disc", photograph(32, 48), painting(), style=1)


@pytest.fixture(scope="module", autouse=True)
def features(tmp_path_factory):
    """A feature network that is small and at hand."""
    with known(tmp_path_factory.mktemp("features")) as name:
        yield name


def spec_with(architecture: str = "style"):
    """A network at 32×48 in two styles."""
    spec = spec_of(architecture)
    style = spec.style.model_copy(update={"features": "tiny", "weights": features_digest("tiny")})
    return spec.model_copy(update={"style": style})


def objective(architecture: str = "style", **settings: object) -> StyleObjective:
    """An objective without augmentation."""
    return StyleObjective(spec_with(architecture), TrainSettings(**settings), PLAIN, PAINTINGS)


def batch_of(made: StyleObjective, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Samples as the training loop hands them on."""
    crops, styles = zip(*(made.item(sample, seed=0) for sample in samples), strict=True)
    return made.prepare((torch.stack(crops), torch.stack(styles)), seed=0)


def test_an_item_is_the_photograph_and_the_number_of_its_painting() -> None:
    crop, style = objective().item(SAMPLE, seed=0)
    assert np.array_equal(crop.permute(1, 2, 0).numpy(), SAMPLE.image)
    assert int(style) == 1


def test_a_photograph_of_another_shape_is_not_squeezed() -> None:
    wide = np.zeros((32, 128, 3), np.uint8)
    wide[:, ::8] = 255
    crop, _ = objective().item(Sample("stripes", wide, painting()), seed=0)
    stripes = (crop[0, 16].float() > 127).sum()
    assert int(stripes) == 6, "every eighth column of 48"


def test_the_network_is_fed_as_when_it_is_judged() -> None:
    for architecture in ("style", "style-multi", "style-adain"):
        made = objective(architecture)
        fed = made.inputs(*batch_of(made, [SAMPLE]))
        judged = Style(spec_with(architecture)).preprocess([SAMPLE])
        assert len(fed) == len(judged)
        for tensor, feed in zip(fed, judged.values(), strict=True):
            assert tensor.shape == feed.shape
        assert np.allclose(fed[0].numpy(), judged["image"], atol=1e-5)


def test_a_network_that_changes_nothing_keeps_the_content_and_has_no_style() -> None:
    made = objective(style=1.0, content=1.0)
    images, styles = batch_of(made, [SAMPLE, SAMPLE])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (made.task.spec.input.mean, made.task.spec.input.std))
    terms = made.loss(lambda image: image * std + mean, images, styles)
    assert float(terms["content"]) == pytest.approx(0.01, abs=1e-4), "the root of nothing is rounded off"
    assert float(terms["style"]) > 0.1
    assert float(terms["loss"]) == pytest.approx(sum(float(v) for name, v in terms.items() if name != "loss"), rel=1e-5)


def test_each_item_is_held_against_its_own_painting() -> None:
    made = objective(content=0, variation=0)
    images, _ = batch_of(made, [SAMPLE])
    losses = [float(made.loss(lambda image: image, images, torch.tensor([style]))["style"]) for style in (0, 1)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_a_pixel_beyond_what_can_be_shown_still_learns() -> None:
    made = objective()
    images, styles = batch_of(made, [SAMPLE])
    picture = (torch.rand(images.shape) * 3 - 1).requires_grad_()
    made.loss(lambda _: picture, images, styles)["loss"].backward()
    assert (picture.grad[picture > 1] != 0).float().mean() > 0.9


def test_a_teacher_is_imitated_in_the_picture() -> None:
    one = torch.rand(2, 3, 8, 8)
    assert float(objective().imitation(one, one, 1.0)) == 0
    assert float(objective().imitation(one, one + 0.1, 4.0)) == pytest.approx(0.01, rel=1e-3)


def test_data_without_paintings_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="has no paintings: name one with --style"):
        objective_of(spec_with(), SyntheticDataset(SyntheticSettings()), TrainSettings(), PLAIN)


@pytest.mark.parametrize("architecture", ["style", "style-multi", "style-adain"])
def test_every_kind_of_style_network_learns(tmp_path, architecture) -> None:
    spec = spec_with(architecture)
    dataset = StyledDataset(SyntheticDataset(SyntheticSettings(size=(32, 48), train=4, val=1)), PAINTINGS)
    settings = TrainSettings(steps=25, batch_size=2, learning_rate=1e-2, validate_every=5, variation=0, workers=0)
    split = dataset.split("train")
    assert isinstance(split, StyledSplit)
    trained = train(
        new_network(spec, 0),
        Style(spec),
        objective_of(spec, dataset, settings, PLAIN),
        split,
        dataset.split("val"),
        settings,
        tmp_path,
        tmp_path / "log",
        lambda *_: None,
    )
    losses = [entry["loss"] for entry in trained.history]
    assert losses[-1] < losses[0]
    assert trained.history[-1]["style_loss"] < trained.history[0]["style_loss"]
