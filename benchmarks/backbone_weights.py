"""Keep a trained model's backbone: safetensors with timm's names, float16.

    python benchmarks/backbone_weights.py MODEL OUT.safetensors

``edgevpr train --backbone-weights OUT.safetensors`` starts from it.
"""

import sys
from pathlib import Path

from safetensors.torch import save

from edgevpr.artifact import write_atomic
from edgevpr.train.model import load_model

PREFIX = "backbone.body."


def main(model: Path, out: Path) -> None:
    network, record, _ = load_model(model)
    tensors = {
        name.removeprefix(PREFIX): value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
        if name.startswith(PREFIX)
    }
    about = {"backbone": str(record.architecture["backbone"]), "model": str(record.training)}
    write_atomic(out, save({k: v.contiguous() for k, v in tensors.items()}, metadata=about))
    print(f"{out}: {len(tensors)} tensors, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
