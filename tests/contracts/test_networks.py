"""What holds for every network in the table. A newcomer is tested the day it is added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.networks import fed, spec_of
from kit.photos import photos
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visiondeploy.errors import UsageError
from visiondeploy.models.checkpoint import Network, load_network, new_network, save_network
from visiondeploy.models.compression.settings import CompressSettings
from visiondeploy.models.compression.steps import remove_channels, replace_layers
from visiondeploy.models.compression.structure import Parameters
from visiondeploy.models.monitor import Monitor
from visiondeploy.models.table import NETWORKS, create, settings_of
from visiondeploy.models.tasks.table import task_of
from visiondeploy.pipeline.backends.table import BACKENDS
from visiondeploy.pipeline.recipe import ExportSettings
from visiondeploy.pipeline.stages.export import export
from visiondeploy.pipeline.stages.parity import parity
from visiondeploy.types import Sample


@pytest.mark.parametrize("name", NETWORKS)
class TestEveryNetwork:
    def test_gives_an_output_at_the_inputs_size_for_any_size(self, name: str) -> None:
        module = new_network(spec_of(name), seed=0).module.eval()
        for size in ((32, 48), (33, 47), (17, 65)):
            # Three classes, or three colours.
            assert module(*fed(spec_of(name), 2, *size)).shape == (2, 3, *size)

    def test_weights_depend_on_the_seed_alone(self, name: str) -> None:
        torch.manual_seed(5)
        one = new_network(spec_of(name), seed=1).module.state_dict()
        torch.manual_seed(6)
        same = new_network(spec_of(name), seed=1).module.state_dict()
        other = new_network(spec_of(name), seed=2).module.state_dict()
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not all(torch.equal(one[key], other[key]) for key in one)

    def test_trains_a_step(self, name: str) -> None:
        module = new_network(spec_of(name), seed=0).module.train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        images, masks = fed(spec_of(name), 2, 32, 48), torch.randint(0, 3, (2, 32, 48))
        before = torch.nn.functional.cross_entropy(module(*images), masks)
        before.backward()
        optimizer.step()
        after = torch.nn.functional.cross_entropy(module(*images), masks)
        assert after < before

    def test_comes_back_from_its_checkpoint(self, name: str, tmp_path) -> None:
        network = new_network(spec_of(name), seed=3)
        save_network(Network(network.module, network.spec.model_copy(update={"trained_steps": 7})), tmp_path)
        found = load_network(tmp_path)
        image = fed(network.spec, 1, 32, 48)
        assert found.spec.trained_steps == 7
        assert torch.equal(found.module(*image), network.module.eval()(*image))

    def test_tensorboard_shows_predictions_and_what_its_blocks_give(self, name: str, tmp_path) -> None:
        network = new_network(spec_of(name), seed=0)
        image = np.zeros((32, 48, 3), np.uint8)
        sample = Sample("one", image, image[..., 0] if network.spec.style is None else image)
        with Monitor(tmp_path, first_step=0) as monitor:
            monitor.pictures(1, network.module.train(), task_of(network.spec), [sample])
        events = EventAccumulator(str(tmp_path))
        events.Reload()
        assert events.Tags()["images"] == ["prediction/0"]
        assert len([tag for tag in events.Tags()["histograms"] if tag.startswith("features/")]) > 2
        assert network.module.training

    def test_made_smaller_it_exports_and_runs_the_same_in_every_backend(self, name: str, tmp_path) -> None:
        network = compressed(name)
        places = {"network": tmp_path / "network", "onnx": tmp_path / "onnx", "torchscript": tmp_path / "onnx"}
        for place in {*places.values()}:
            place.mkdir()
        save_network(network, places["network"])
        task = task_of(network.spec)
        images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
        samples = [task.preprocess(photos(image)) for image in images]
        found = export(places["network"], samples, ExportSettings(), 1, places["onnx"])
        assert all(row["exact"] or row["sqnr_db"] > 60 for row in found["parity"].values())
        with BACKENDS["pytorch"].load(places["network"], 1) as reference:
            for backend in (BACKENDS["openvino"], BACKENDS["onnxruntime"], BACKENDS["torchscript"]):
                engine = tmp_path / backend.name
                engine.mkdir()
                backend.compile(places[backend.source], engine)
                with backend.load(engine, 1) as session:
                    assert parity(reference, session, task, samples).sqnr_db > 60

    def test_made_smaller_it_comes_back_from_its_checkpoint(self, name: str, tmp_path) -> None:
        network = compressed(name)
        save_network(network, tmp_path)
        image = fed(network.spec, 1, 32, 48)
        assert torch.equal(load_network(tmp_path).module(*image), network.module(*image))

    def test_refuses_an_option_it_does_not_have(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"model.options of network '.*': unknown key 'nosuch'"):
            create(name, {"nosuch": 1}, classes=2)


def compressed(name: str) -> Network:
    """A network with all that can be separable, and pruned to 40 % of what is left."""
    network = new_network(spec_of(name), seed=0)
    module, size = network.module, (32, 48)
    settings = CompressSettings(importance="magnitude")
    changes = [replace_layers(module, size, settings, None, 0, 1)]
    limit = 0.4 * sum(parameter.numel() for parameter in module.parameters())
    changes.append(remove_channels(module, size, settings, Parameters(), limit, 2, [], no_loss))
    assert sum(parameter.numel() for parameter in module.parameters()) <= limit
    done = tuple(change for change in changes if change is not None)
    return Network(module.eval(), network.spec.model_copy(update={"changes": done}))


def no_loss(*_: object) -> torch.Tensor:
    raise AssertionError("weights alone say which channels matter")


def test_a_misspelt_option_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'base_width'"):
        settings_of("unet", {"base_widht": 8})


def test_an_unknown_network_is_told_what_exists() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'unet'.*Known: .*unet"):
        settings_of("unte", {})
