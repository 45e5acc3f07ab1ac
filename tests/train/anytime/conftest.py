"""A network with two early exits, and a codebook of its tokens, small enough for a CPU test."""

from pathlib import Path

import pytest

from ..runs import gallery_config
from .exit_runs import ARCHITECTURE, codebook_config


@pytest.fixture(scope="session")
def based(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model/ (gallery network), features/ (of the training images), codebook/."""
    import torch

    from edgevpr.train.anytime.fit_codebook import fit_codebook
    from edgevpr.train.embed.embed import embed
    from edgevpr.train.fit import fit

    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("based")
    fit(gallery_config(tiny, architecture=ARCHITECTURE, validation=None), out / "model")
    embed(out / "model", tiny / "train", out / "features", workers=0)
    fit_codebook(codebook_config(tiny, out), out / "codebook")
    return out
