"""A network on disk: `weights.safetensors` and `network.json`, never a pickled module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from visiondeploy.errors import InputError, ResourceError, UsageError
from visiondeploy.models.memory import available_memory
from visiondeploy.models.reading import open_regular, read_bytes
from visiondeploy.models.spec import NetworkSpec
from visiondeploy.models.table import create
from visiondeploy.models.validation import first_problem

if TYPE_CHECKING:
    from torch import Tensor, nn

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
    """The network that `spec` describes, with random weights that depend on `seed` alone.

    Raises `UsageError` for an architecture or options that do not exist, `ResourceError` where the weights do not
    fit into the memory that is free.
    """
    import torch

    _check_memory(spec, copies=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(create(spec.architecture, spec.options, len(spec.kinds)), spec)


def _check_memory(spec: NetworkSpec, copies: int) -> None:
    """Raise `ResourceError` where so many copies of the weights do not fit: the kernel would kill the process."""
    import torch

    # On this device tensors have shapes and no memory.
    with torch.device("meta"):
        state = create(spec.architecture, spec.options, len(spec.kinds)).state_dict()
    needed = copies * sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    available = available_memory()
    if available is not None and needed > available:
        raise ResourceError(
            f"the network {spec.architecture} needs {needed / 1e6:.0f} MB of memory, "
            f"{available / 1e6:.0f} MB are free: make it smaller (model.options) or use a larger machine."
        )


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
    or a weight is not a finite number; `ResourceError` where they do not fit into the memory that is free.
    """
    import torch

    spec = read_spec(folder)
    path = folder / WEIGHTS
    try:
        # The state that is read, and the module that it is copied into.
        _check_memory(spec, copies=2)
        module = create(spec.architecture, spec.options, len(spec.kinds))
        if spec.changes:
            from visiondeploy.models.compression.replay import replay

            replay(module, spec.changes)
    except UsageError as error:
        raise InputError(f"{folder / DESCRIPTION} describes no network: {error}") from None
    try:
        module.load_state_dict(_read_weights(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path} does not fit {spec.architecture} as {DESCRIPTION} describes it: {reason}") from None
    # Of the module: a number of the file may be finite in a wider type alone.
    state = module.state_dict()
    broken = sorted(name for name, tensor in state.items() if not torch.isfinite(tensor).all())
    if broken:
        raise InputError(f"{path}: {broken[0]} holds NaN or infinity; train again with a lower learning rate.")
    return Network(module.eval(), spec)


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises `InputError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open_regular(path) as file:
            state: dict[str, Tensor] = load_file(path)
            # Its reader, which has checked the rest of the header, takes the last of two tensors with one name.
            header = file.read(int.from_bytes(file.read(8), "little"))
        json.loads(header, object_pairs_hook=_unique)
    except FileNotFoundError:
        raise InputError(f"{path.parent} holds no {path.name}: build the checkpoint anew.") from None
    except (OSError, SafetensorError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path} is not a whole safetensors file ({reason}): build the checkpoint anew.") from None
    return state


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises `ValueError` for a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found
