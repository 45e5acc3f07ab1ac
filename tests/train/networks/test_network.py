"""Refusals of a network that cannot be built or cannot take its images."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402


def test_sizes_a_network_cannot_work_on() -> None:
    """The message names a size that works."""
    with pytest.raises(UsageError, match=r"7 x 7 = 49 patches.*`image_size` 288"):
        Network(Architecture("efficientvit_b2", aggregator="salad"), (224, 224))
    with pytest.raises(UsageError, match="322 x 322"):
        Network(Architecture("dinov2_vits14", aggregator="gem"), (320, 320))
    with pytest.raises(UsageError, match="unexpected keyword"):
        Network(Architecture("resnet10t", aggregator="gem", aggregator_args={"q": 1}))
