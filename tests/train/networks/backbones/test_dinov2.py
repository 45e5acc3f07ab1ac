"""DINOv2 against the reference implementation's outputs, and its image sizes."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.networks.backbones import DINOv2, DINOv2Features  # noqa: E402


def test_matches_the_reference(shared: Path) -> None:
    vectors = np.load(shared / "parity" / "dinov2.npz", allow_pickle=False)
    network = DINOv2(**json.loads(str(vectors["config"]))).eval()
    state = {k[2:]: torch.from_numpy(vectors[k]) for k in vectors.files if k[:2] == "w:"}
    network.load_state_dict(state, strict=True)
    image = torch.from_numpy(vectors["x"])
    with torch.no_grad():
        for name, tokens in {
            "tokens_after_pos_embed": network.prepare_tokens(image),
            "tokens_no_final_norm": network(image, norm=False),
            "tokens_final_norm": network(image),
        }.items():
            np.testing.assert_allclose(tokens.numpy(), vectors[name], atol=1e-5)
        named = network.forward_features(image)
    np.testing.assert_allclose(
        named["x_norm_patchtokens"].numpy(), vectors["tokens_final_norm"][:, 1:], atol=1e-5
    )


def test_features_are_the_patches_in_their_places() -> None:
    """Rows and columns are those of the image, and the class token is apart."""
    with torch.device("meta"):
        features = DINOv2Features("dinov2_vits14", with_token=True)
        patches, token = features(torch.empty(2, 3, 28, 42))
    assert patches.shape == (2, 384, 2, 3)
    assert token.shape == (2, 384)


def test_only_the_last_blocks_are_trained() -> None:
    with torch.device("meta"):
        features = DINOv2Features("dinov2_vits14", trained_blocks=2)
    trained = {name.split(".")[2] for name, p in features.named_parameters() if p.requires_grad}
    assert trained == {"10", "11", "weight", "bias"}


def test_refuses_sides_that_are_no_multiple_of_the_patch() -> None:
    """The message names a size that works."""
    with pytest.raises(UsageError, match=r"320 x 300 px.*322 x 294"):
        DINOv2(embed_dim=48, depth=1, num_heads=3)(torch.zeros(1, 3, 320, 300))
    with pytest.raises(UsageError, match="dinov2_vitb14"):
        DINOv2Features("dinov2_huge")
