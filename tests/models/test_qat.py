"""Fake quantisation: it computes what the Q/DQ graph does, it can be trained, and it leaves nothing behind."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kit.chains import run, sqnr
from kit.networks import spec_of
from kit.rounding import NAMES, trained_like
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from visiondeploy.benchmarks.environment import has_vnni
from visiondeploy.calibration.observe import observe
from visiondeploy.calibration.observers import AFFINE_UINT8, SYMMETRIC_INT8, min_max
from visiondeploy.calibration.observers import Range as Span
from visiondeploy.calibration.placement import tensors_to_observe
from visiondeploy.calibration.qdq import _parameters, quantise
from visiondeploy.calibration.schemes import SCHEMES
from visiondeploy.errors import UsageError
from visiondeploy.models import qat
from visiondeploy.models.losses import distillation_loss
from visiondeploy.models.qat import FakeQuantised, Range, round_weight
from visiondeploy.models.tasks.segmentation import Segmentation
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import to_onnx

SIZE = (32, 48)
numbers = st.integers(-999, 999).map(lambda number: number / 100)


def images(count: int, seed: int = 3) -> Tensor:
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def span(low: float, high: float, symmetric: bool = False) -> Range:
    """A range that has seen these two values."""
    found = Range(tracked=1, symmetric=symmetric)
    found.train()(torch.tensor([low, high]))
    return found.eval()


class TestAgainstTheGraph:
    """With the ranges of the float network, as calibration sees them: in a training rounded values are seen."""

    @pytest.fixture
    def observed(self, monkeypatch):
        def call(fake: FakeQuantised, image: Tensor) -> FakeQuantised:
            hooks = [found.register_forward_hook(lambda _, values, rounded: values[0]) for found in fake.ranges]
            with monkeypatch.context() as patched:
                patched.setattr(qat, "round_weight", lambda weight, axis, bits: weight)
                fake.train()(image)
            for hook in hooks:
                hook.remove()
            return fake.eval()

        return call

    @pytest.mark.parametrize(("name", "bits"), [("unet", 8), ("separable unet", 7), ("branches", 8)])
    def test_it_computes_what_the_graph_does(self, name, bits, observed) -> None:
        """Much nearer to it than either is to the float network: here and there a value is rounded the other way."""
        if bits == 8 and not has_vnni():
            pytest.skip("this CPU has no VNNI: runtimes saturate where two products of 8 bits are added")
        module, image = trained_like(name), images(1)
        fp32 = to_onnx(module, Segmentation(spec_of("unet")), ExportSettings())
        feeds = [{"image": image.numpy()}]
        statistics = observe(fp32, tensors_to_observe(fp32), feeds, threads=1)
        ranges = {tensor: min_max(found, AFFINE_UINT8) for tensor, found in statistics.items()}
        graph = quantise(fp32, ranges, SCHEMES["cpu"], bits)
        fake = observed(FakeQuantised(module, SIZE, bits, tracked=1), image)
        with torch.inference_mode():
            found = fake(image).numpy()
        before, after = run(fp32, feeds), run(graph.model, feeds)
        assert sqnr(before, after) < 60
        assert sqnr(after, found) > sqnr(before, after) + 10
        convolutions = [call for call in fake.calls if call.rounded and call.function in qat.PRODUCTS]
        assert len(convolutions) == len(graph.int8)

    @given(numbers, numbers, st.lists(numbers, min_size=1, max_size=8), st.booleans())
    def test_an_activation_has_the_graphs_codes(self, low, high, values, symmetric) -> None:
        target = SYMMETRIC_INT8 if symmetric else AFFINE_UINT8
        scale, zero_point = _parameters(Span(min(low, high), max(low, high)), target)
        zero_point = float(zero_point)
        found = span(low, high, symmetric)(torch.tensor(values)).numpy()
        lowest, highest = (-127, 127) if symmetric else (0, 255)
        quotients = np.asarray(values) / scale
        codes = np.clip(np.rint(quotients) + zero_point, lowest, highest)
        # At a tie either code is right.
        assert np.abs(found / scale + zero_point - codes).max() < 1.01
        clear = np.abs(quotients % 1 - 0.5) > 1e-2
        assert np.allclose((found / scale + zero_point)[clear], codes[clear], atol=1e-2)

    @given(st.integers(0, 2**31 - 1), st.sampled_from([0, 1]), st.sampled_from([7, 8]))
    def test_a_factor_of_a_channel_commutes_with_rounding(self, seed, axis, bits) -> None:
        """So batch norm need not be folded: the codes are the same, whatever it multiplies a channel by."""
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(3, 3, 2, 2, generator=generator)
        shape = [-1 if i == axis else 1 for i in range(4)]
        factor = (torch.randn(3, generator=generator) * 10).reshape(shape)
        scale = weight.abs().amax([i for i in range(4) if i != axis], keepdim=True) / (2 ** (bits - 1) - 1)
        apart = (weight / scale % 1 - 0.5).abs() > 1e-3
        rounded = round_weight(weight, axis, bits)
        assert torch.allclose((rounded / scale).round() * scale, rounded, atol=1e-5)
        assert torch.allclose(round_weight(weight * factor, axis, bits)[apart], (rounded * factor)[apart], rtol=1e-4)

    def test_a_channel_of_zeros_stays_zero(self) -> None:
        assert torch.equal(round_weight(torch.zeros(2, 1, 1, 1), 0, 8), torch.zeros(2, 1, 1, 1))


class TestRange:
    def test_zero_is_exact_and_what_lies_outside_is_clipped(self) -> None:
        found = span(0.7, 2.0)(torch.tensor([0.0, -1.0, 5.0]))
        assert found.tolist() == pytest.approx([0.0, 0.0, 2.0])

    def test_it_is_an_average_of_extremes(self) -> None:
        found = Range(tracked=9, symmetric=False).train()
        for low, high in ((-1.0, 2.0), (-2.0, 12.0)):
            found(torch.tensor([low, 0.0, high]))
        assert (float(found.low), float(found.high)) == pytest.approx((-1.1, 3.0))

    def test_it_is_kept_after_so_many_batches_and_in_eval_mode(self) -> None:
        found = Range(tracked=2, symmetric=False).train()
        found(torch.tensor([0.0, 1.0]))
        found.eval()(torch.tensor([0.0, 100.0]))
        assert float(found.high) == 1
        found.train()(torch.tensor([0.0, 1.0]))
        found(torch.tensor([0.0, 100.0]))
        assert (float(found.high), int(found.seen)) == (1, 2)

    def test_before_the_first_batch_nothing_is_rounded(self) -> None:
        values = torch.randn(9)
        assert torch.equal(Range(tracked=1, symmetric=False).eval()(values), values)

    def test_the_gradient_is_that_of_the_identity_but_where_it_clips(self) -> None:
        values = torch.tensor([-1.0, 0.3, 1.5, 9.0], requires_grad=True)
        span(0.0, 2.0)(values).sum().backward()
        assert values.grad.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("name", NAMES)
class TestEveryNetwork:
    def test_every_weight_gets_a_gradient_and_batch_norm_keeps_its_statistics(self, name) -> None:
        module = trained_like(name)
        before = {key: tensor.clone() for key, tensor in module.named_buffers()}
        fake = FakeQuantised(module, SIZE, 8, tracked=1).train()
        fake(images(2)).square().mean().backward()
        missing = [key for key, weight in module.named_parameters() if not weight.grad.abs().sum() > 0]
        assert not missing
        assert all(torch.equal(tensor, before[key]) for key, tensor in module.named_buffers())
        assert len(fake.ranges) == sum(int(found.seen) for found in fake.ranges)

    def test_the_network_in_it_is_the_plain_one(self, name) -> None:
        module, plain = trained_like(name), trained_like(name)
        fake = FakeQuantised(module, SIZE, 8, tracked=1)
        fake.train()(images(1))
        assert module.state_dict().keys() == plain.state_dict().keys()
        plain.load_state_dict(fake.network.state_dict())
        assert torch.equal(plain(images(1)), module(images(1)))

    def test_a_moving_average_of_it_computes_the_same(self, name) -> None:
        fake = FakeQuantised(trained_like(name), SIZE, 8, tracked=1).train()
        average = AveragedModel(fake, use_buffers=True)
        fake(images(1))
        average.update_parameters(fake)
        assert torch.equal(average.module.eval()(images(2)), fake.eval()(images(2)))

    def test_images_of_any_size(self, name) -> None:
        fake = FakeQuantised(trained_like(name), SIZE, 8, tracked=1).train()
        fake(images(1))
        size = (34, 46) if name == "branches" else (33, 47)
        assert fake(torch.randn(2, 3, *size)).shape == (2, 3, *size)


def test_what_a_network_calls_may_not_depend_on_the_image() -> None:
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, image: Tensor) -> Tensor:
            return self.conv(self.conv(image)) if image.shape[-1] > 48 else self.conv(image)

    fake = FakeQuantised(Fickle(), SIZE, 8, tracked=1)
    fake(images(1))
    with pytest.raises(UsageError, match="other convolutions, concats or sums for one image than for another"):
        fake(torch.zeros(1, 3, 32, 64))
    wide = FakeQuantised(Fickle(), (32, 64), 8, tracked=1)
    with pytest.raises(UsageError, match="leave --qat away"):
        wide(images(1))


def test_steps_bring_back_what_rounding_took() -> None:
    """With weights of four bits, so that it is much; and with classes that depend on the image."""
    module = trained_like("separable unet")
    with torch.inference_mode():
        logits = module(images(4))
        mean, factor = (f(logits, dim=(0, 2, 3)) for f in (torch.mean, torch.std))
        module.head.bias.sub_(mean).mul_(3 / factor)
        module.head.weight.mul_(3 / factor.view(-1, 1, 1, 1))
    teacher = copy.deepcopy(module)
    fake = FakeQuantised(module, SIZE, weight_bits=4, tracked=20)

    def loss(batch: Tensor) -> Tensor:
        with torch.no_grad():
            taught = teacher(batch)
        return distillation_loss(fake(batch), taught, temperature=1)

    unseen, optimizer = images(4, seed=9), torch.optim.Adam(module.parameters(), lr=4e-3)
    fake.train()(images(4))
    before = float(loss(unseen).detach())
    for step in range(20):
        optimizer.zero_grad()
        loss(images(4, seed=100 + step)).backward()
        optimizer.step()
    fake.eval()
    after = float(loss(unseen).detach())
    assert before > 0.1
    assert after < 0.7 * before
