"""One store for all tests of builds, so that the toy network is trained and exported once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from kit.builds import House, toy

from visiondeploy.models.checkpoint import Network, new_network, save_network
from visiondeploy.pipeline.plan import Plan


@pytest.fixture(scope="session")
def store_root(tmp_path_factory) -> Path:
    """The workers of pytest-xdist share it, as processes may."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy-store"


@pytest.fixture(scope="session")
def house(store_root, tmp_path_factory) -> House:
    """A working folder that tests fill together; what they find in it they leave as it is."""
    return House(store_root, tmp_path_factory.mktemp("house"))


@pytest.fixture
def room(store_root, tmp_path) -> House:
    """A working folder of the test's own, with the shared store."""
    return House(store_root, tmp_path)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint that says it was trained. Its classes are so near each other that int8 mistakes some."""
    import torch

    folder = tmp_path_factory.mktemp("checkpoint")
    plan = Plan(toy())
    network = new_network(plan.spec, seed=1)
    with torch.inference_mode():
        logits = network.module.eval()(torch.from_numpy(plan.samples[0]["image"]))
        network.module.head.bias -= logits.mean(dim=(0, 2, 3))
    save_network(Network(network.module, network.spec.model_copy(update={"trained_steps": 7})), folder)
    return folder
