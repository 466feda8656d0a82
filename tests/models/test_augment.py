import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visiondeploy.errors import InputError
from visiondeploy.models.augment import augment, cutmix
from visiondeploy.models.settings import AugmentSettings
from visiondeploy.types import Array, Sample

IGNORE = 255
STILL = AugmentSettings(hflip=0, rotation=0, scale=(1, 1), brightness=0, contrast=0, saturation=0, hue=0, cutmix=0)


def rulers(height: int, width: int, axis: int) -> Sample:
    """A mask that counts its rows or columns, and an image that does so too."""
    place = np.indices((height, width))[axis].astype(np.uint8)
    return Sample("rulers", np.repeat(place[..., None], 3, axis=2), place)


def inner(mask: Array, margin: int) -> Array:
    """Pixels with no ignored pixel, nor the crop's end, within the margin: at the image's edge black shines in."""
    good = np.pad(mask != IGNORE, margin, constant_values=False)
    views = np.lib.stride_tricks.sliding_window_view(good, (2 * margin + 1, 2 * margin + 1))
    return views.all(axis=(2, 3))


def apart(image: Tensor, mask: Tensor) -> Array:
    """How far the image and the mask of a ruler are from each other, away from ignored pixels."""
    return np.abs(image[0].numpy().astype(float) - mask.numpy())[inner(mask.numpy(), 4)]


def test_does_nothing_where_nothing_is_asked_for() -> None:
    sample = Sample(
        "a", np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8), np.ones((20, 30), np.uint8)
    )
    image, mask = augment(sample, STILL, (20, 30), (20, 30), IGNORE, seed=0)
    assert torch.equal(image, torch.from_numpy(sample.image).permute(2, 0, 1))
    assert np.array_equal(mask, sample.target)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    axis=st.sampled_from([0, 1]),
    rotation=st.sampled_from([0.0, 5.0, 30.0]),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 0.75), (1.5, 2.0), (0.5, 2.0)]),
    size=st.tuples(st.integers(8, 90), st.integers(8, 90)),
)
def test_image_and_mask_move_together(seed, axis, rotation, scale, size) -> None:
    asked = STILL.model_copy(update={"hflip": 0.5, "rotation": rotation, "scale": scale})
    image, mask = augment(rulers(48, 64, axis), asked, (48, 64), size, IGNORE, seed)
    assert image.dtype == torch.uint8
    assert image.shape == (3, *size)
    assert mask.shape == size
    assert not mask.is_floating_point()
    # A bilinear image of a ruler is the ruler; nearest neighbours are off by half a pixel at each of two steps.
    assert apart(image, mask).max(initial=0) <= (2 if rotation else 1)


def test_and_not_a_pixel_apart_on_average() -> None:
    """A single image may be one apart everywhere: at half its size the nearest neighbour is a tie."""
    asked = STILL.model_copy(update={"hflip": 0.5, "rotation": 30.0, "scale": (0.5, 2.0)})
    made = [augment(rulers(48, 64, seed % 2), asked, (48, 64), (40, 50), IGNORE, seed) for seed in range(60)]
    away = np.concatenate([apart(image, mask) for image, mask in made])
    assert away.size > 10_000
    assert away.mean() <= 0.1


def test_at_scale_one_the_whole_image_is_as_large_as_the_network_sees_it() -> None:
    image, mask = augment(rulers(40, 80, 1), STILL, (20, 40), (20, 40), IGNORE, seed=0)
    assert image.shape == (3, 20, 40)
    # Every second column of the image, from its first to its last.
    assert np.abs(mask[0].numpy().astype(int) - (2 * np.arange(40) + 0.5)).max() <= 1
    assert (mask != IGNORE).all()


def test_what_lies_outside_is_ignored() -> None:
    sample = Sample("a", np.full((10, 10, 3), 200, np.uint8), np.zeros((10, 10), np.uint8))
    image, mask = augment(sample, STILL, (10, 10), (30, 20), IGNORE, seed=0)
    assert (mask == 0).sum() == 100
    assert (mask == IGNORE).sum() == 500
    assert (image[:, mask == 0] == 200).all()
    _, mask = augment(sample, STILL.model_copy(update={"rotation": 90.0}), (10, 10), (10, 10), IGNORE, seed=1)
    assert set(mask.unique().tolist()) <= {0, IGNORE}


def test_a_small_image_and_a_crop_lie_anywhere() -> None:
    whole = rulers(40, 40, 1)
    corners = {int(augment(whole, STILL, (40, 40), (8, 8), IGNORE, seed)[1][0, 0]) for seed in range(40)}
    assert len(corners) > 10
    dot = Sample("dot", np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8))
    places = {int(augment(dot, STILL, (1, 1), (8, 8), IGNORE, seed)[1].argmin()) for seed in range(40)}
    assert len(places) > 10


def test_flips_as_often_as_asked() -> None:
    asked = STILL.model_copy(update={"hflip": 0.25})
    flipped = [int(augment(rulers(4, 8, 1), asked, (4, 8), (4, 8), IGNORE, seed)[1][0, 0]) == 7 for seed in range(400)]
    assert 60 < sum(flipped) < 140


def test_colours_change_within_their_strength_and_the_mask_does_not() -> None:
    sample = Sample("grey", np.full((6, 6, 3), 100, np.uint8), np.ones((6, 6), np.uint8))
    asked = STILL.model_copy(update={"brightness": 0.2})
    means = []
    for seed in range(50):
        image, mask = augment(sample, asked, (6, 6), (6, 6), IGNORE, seed)
        means.append(float(image.float().mean()))
        assert (mask == 1).all()
    assert 79 <= min(means) < 90
    assert 110 < max(means) <= 120


def test_depends_on_the_seed_alone_and_leaves_the_rest_as_it_was() -> None:
    generator = np.random.default_rng(0)
    sample = Sample(
        "a", generator.integers(0, 256, (40, 50, 3), np.uint8), generator.integers(0, 3, (40, 50), np.uint8)
    )
    kept = sample.image.copy(), sample.target.copy()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = augment(sample, AugmentSettings(), (40, 50), (32, 32), IGNORE, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    same = augment(sample, AugmentSettings(), (40, 50), (32, 32), IGNORE, seed=5)
    other = augment(sample, AugmentSettings(), (40, 50), (32, 32), IGNORE, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    assert np.array_equal(sample.image, kept[0])
    assert np.array_equal(sample.target, kept[1])


def test_plain_tensors_come_out() -> None:
    """A DataLoader collates them, and no tv_tensors follow into the network."""
    assert all(type(t) is torch.Tensor for t in augment(rulers(8, 8, 0), AugmentSettings(), (8, 8), (8, 8), IGNORE, 0))


def test_a_sample_without_a_mask_is_refused() -> None:
    with pytest.raises(InputError, match="bare has no mask"):
        augment(Sample("bare", np.zeros((4, 4, 3), np.uint8), None), STILL, (4, 4), (4, 4), IGNORE, seed=0)


class TestCutMix:
    @settings(max_examples=100, deadline=None)
    @given(seed=st.integers(0, 2**31), batch=st.integers(1, 5), height=st.integers(1, 20), width=st.integers(1, 20))
    def test_each_pixel_is_the_same_place_of_one_of_two_items(self, seed, batch, height, width) -> None:
        masks = torch.arange(batch * height * width).reshape(batch, height, width)
        images = torch.stack([masks, -masks], dim=1).float()
        kept = images.clone(), masks.clone()
        mixed, labels = cutmix(images, masks, 1.0, torch.Generator().manual_seed(seed))
        assert torch.equal(images, kept[0])
        assert torch.equal(masks, kept[1])
        assert torch.equal(mixed[:, 0].long(), labels), "the image agrees with the mask"
        assert torch.equal(mixed[:, 1].long(), -labels)
        place = height * width
        assert torch.equal(labels % place, masks % place), "each pixel stays where it was"
        pasted = labels // place != torch.arange(batch)[:, None, None]
        for item in range(batch):
            sources = (labels[item] // place)[pasted[item]].unique()
            assert len(sources) <= 1
            rows, columns = pasted[item].any(1).nonzero(), pasted[item].any(0).nonzero()
            if len(rows):
                box = pasted[item][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
                assert box.all(), "what was pasted is a box"

    def test_the_area_is_uniform_and_the_probability_held(self) -> None:
        masks = torch.arange(2)[:, None, None].expand(2, 32, 32)
        images = masks[:, None].float().expand(2, 3, 32, 32)
        shares = []
        for seed in range(600):
            _, labels = cutmix(images, masks, 0.5, torch.Generator().manual_seed(seed))
            shares.append(float((labels != masks).float().mean()))
        changed = [share for share in shares if share > 0]
        # Half of the batches are mixed, and half of the orders of two swap them.
        assert 100 < len(changed) < 200
        assert 0.4 < np.mean(changed) < 0.6
        assert min(changed) < 0.1
        assert max(changed) > 0.9

    def test_never_at_probability_0(self) -> None:
        masks = torch.randint(0, 3, (4, 8, 8))
        images = torch.randn(4, 3, 8, 8)
        for seed in range(20):
            mixed, labels = cutmix(images, masks, 0.0, torch.Generator().manual_seed(seed))
            assert torch.equal(mixed, images)
            assert torch.equal(labels, masks)

    def test_draws_from_its_generator_alone(self) -> None:
        masks, images = torch.arange(4)[:, None, None].expand(4, 8, 8), torch.zeros(4, 3, 8, 8)
        before = torch.get_rng_state()
        one = cutmix(images, masks, 1.0, torch.Generator().manual_seed(3))
        same = cutmix(images, masks, 1.0, torch.Generator().manual_seed(3))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(one[1], same[1])
