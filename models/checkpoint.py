"""A network on disk: `weights.safetensors` and `network.json`, never a pickled module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from visiondeploy.errors import InputError
from visiondeploy.models.reading import read_bytes
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.table import create
from visiondeploy.models.validation import first_problem

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"
DESCRIPTION = "network.json"

# 1: architecture, options, task, classes, palette, ignore_index, input, trained_steps
SCHEMA = "visiondeploy.network/1"


@dataclass(frozen=True, slots=True)
class Network:
    """A PyTorch module and what is known of it."""

    module: nn.Module
    spec: NetworkSpec


def new_network(spec: NetworkSpec, seed: int) -> Network:
    """The network that `spec` describes, with random weights that depend on `seed` alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(create(spec.architecture, spec.options, len(spec.classes)), spec)


def save_network(network: Network, folder: Path) -> None:
    """Write the two files into `folder`, which exists. The caller makes the folder appear at once as a whole."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.module.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    description = {"schema": SCHEMA, **network.spec.model_dump(mode="json")}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def read_spec(folder: Path) -> NetworkSpec:
    """The description in a checkpoint folder, without its weights and without torch. Raises `InputError`."""
    path = folder / DESCRIPTION
    try:
        found = json.loads(read_bytes(path))
        schema = dict(found).get("schema")
        if schema != SCHEMA:
            raise InputError(
                f"{path}: schema is {repr(schema)[:80]}, this release reads '{SCHEMA}'; build the checkpoint anew."
            )
        return NetworkSpec.model_validate({key: value for key, value in found.items() if key != "schema"})
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no {DESCRIPTION}: a checkpoint is a folder with {WEIGHTS} and {DESCRIPTION}, "
            "as `deploy train` writes it."
        ) from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error, NetworkSpec)} Build the checkpoint anew.") from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} is not a checkpoint's description: {reason}. Build the checkpoint anew.") from None


def load_network(folder: Path) -> Network:
    """The network in a checkpoint folder, in eval mode on the CPU.

    Raises `InputError` where a file is missing or damaged, the weights do not fit the architecture,
    or a weight is not a finite number.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    spec = read_spec(folder)
    path = folder / WEIGHTS
    try:
        state = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {WEIGHTS}: build the checkpoint anew.") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}): build the checkpoint anew.") from None
    broken = sorted(
        name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    )
    if broken:
        raise InputError(f"{path}: {broken[0]} holds NaN or infinity; train again with a lower learning rate.")
    module = create(spec.architecture, spec.options, len(spec.classes))
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path} does not fit {spec.architecture} as {DESCRIPTION} describes it: {reason}") from None
    return Network(module.eval(), spec)
