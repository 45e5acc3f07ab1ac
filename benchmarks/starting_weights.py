"""Keep a trained model's weights to start others from: one safetensors file, float16.

    python benchmarks/starting_weights.py MODEL OUT.safetensors

``edgevpr train --weights OUT.safetensors`` starts from it.
"""

import sys
from pathlib import Path

from safetensors.torch import save

from edgevpr.files import write_atomic
from edgevpr.train.networks.model import load_model


def main(model: Path, out: Path) -> None:
    network, record, _ = load_model(model)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    about = {
        "architecture": str(record.architecture),
        "role": record.role,
        "validation_r1": str(record.training.get("validation_r1", {})),
    }
    write_atomic(out, save(tensors, metadata=about))
    print(f"{out}: {len(tensors)} tensors, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
