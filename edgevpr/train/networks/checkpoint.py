"""Reader of other projects' checkpoints: tensors by name, nothing unpickled."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgevpr.errors import DataError


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """State dict of a safetensors file or of a torch file (tensors only, nothing is unpickled).

    Raises:
        DataError: neither of them, or torch's file holds more than tensors.
    """
    if not path.is_file():
        raise DataError(f"found nothing at {path}, expected a checkpoint file: check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = " ".join(str(error).split())[:160]
        raise DataError(
            f"found no checkpoint of tensors alone at {path} ({first}), expected the published "
            "file: pass it, or a .safetensors of its state dict"
        ) from error
    state: dict[str, Tensor] | Any = loaded
    if isinstance(loaded, dict) and "state_dict" in loaded:
        state = loaded["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(
            f"found no state dict of tensors in {path}, expected the published file: pass it"
        )
    return state
