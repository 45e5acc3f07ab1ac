"""What a training run is told; the defaults are the paper's settings."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgevpr.errors import UsageError
from edgevpr.train.losses.asymmetric import check_temperature
from edgevpr.train.losses.objectives import GALLERY_LOSSES, QUERY_LOSSES, loss_arguments
from edgevpr.train.networks.network import Architecture


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Raises:
        UsageError: a value out of its range; the message names the flag.
    """

    #: folder of training images with place ids.
    images: Path
    architecture: Architecture
    #: features of those images by the gallery network: with them a query network is trained into
    #: their space, without them a gallery network is trained by metric learning.
    features: Path | None = None
    #: folder with database/ and queries/ to score after every epoch.
    validation: Path | None = None
    #: gallery-network features of the validation database (query networks only).
    validation_features: Path | None = None
    #: safetensors of a whole network of this architecture to start from.
    weights: Path | None = None
    #: safetensors to start the backbone from.
    backbone_weights: Path | None = None
    #: model artifact whose aggregator a query network starts from: same kind, same arguments.
    #: What depends on the backbone's channels starts at random.
    aggregator_from: Path | None = None
    #: cities of GSV-Cities to train on; empty: all.
    cities: tuple[str, ...] = ()
    #: what a place is: the data set's ids, or cells of a grid with bins of heading (in metres and
    #: degrees; see ``bank.places_from_positions``).
    places: Literal["ids", "gps"] = "ids"
    cell_m: float = 10.0
    heading_deg: float = 30.0
    image_size: int = 322
    epochs: int = 15
    batch_size: int = 64
    #: Gallery networks: multi-similarity (the default; with its miner it is what GSV-Cities and BoQ
    #: train with, from pretrained backbones), supcon (learns faster from random weights) or crls.
    #: Query networks: implicit (the default, Eq. 8), asymmetric (Eq. 3), explicit (Eq. 5), queue,
    #: or a baseline. "" is the default of the role.
    loss: str = ""
    #: the loss's own numbers, by name; see ``objectives.loss_arguments``.
    loss_args: dict[str, Any] = field(default_factory=dict)
    #: gallery whose quantized descriptors a query network is also aligned to (--through-index).
    through_index: Path | None = None
    #: images of one place in a batch, for metric learning.
    images_per_place: int = 4
    lr: float = 5e-4
    min_lr: float = 1e-4
    warmup_steps: int = 0
    weight_decay: float = 1e-2
    #: temperature and augmentation strength of Eq. 8.
    tau: float = 0.05
    gamma: float = 15.0
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    #: quantization-aware: the INT8 layers of a query network round as an engine's would.
    qat: bool = False
    #: processes on each machine, one a GPU where there are some, and machines; they share each
    #: batch of ``batch_size`` images.
    devices: int = 1
    nodes: int = 1
    workers: int = 2
    seed: int = 0
    #: normalization constants; ImageNet's unless the backbone weights ask for others.
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    #: crop and light augmentation; (1.0, 0.0) switches it off.
    crop: float = 0.75
    light: float = 0.3

    def __post_init__(self) -> None:
        check_temperature(self.tau, self.gamma)
        choices = GALLERY_LOSSES if self.features is None else QUERY_LOSSES
        if self.loss_name not in choices:
            other = "with" if self.features is None else "without"
            raise UsageError(
                f"--loss {self.loss}: a {self.role} network is trained with one of "
                f"{', '.join(choices)} ({other} --features the other kind is trained)"
            )
        loss_arguments(self.loss_name, self.loss_args)
        positive = {
            "--image-size": self.image_size,
            "--epochs": self.epochs,
            "--batch-size": self.batch_size,
            "--lr": self.lr,
        }
        for flag, value in positive.items():
            if not value > 0:
                raise UsageError(f"{flag} {value}: expected a number above 0")
        if self.devices < 1 or self.nodes < 1:
            raise UsageError(
                f"--devices {self.devices} --nodes {self.nodes}: expected at least 1 of each"
            )
        if self.qat and self.features is None:
            raise UsageError(
                "--qat without --features: only a query network is compiled to INT8; pass the "
                "features it is trained into"
            )
        if self.through_index is not None and self.features is None:
            raise UsageError(
                "--through-index without --features: only a query network searches an index; pass "
                "the features it is trained into"
            )
        share = self.batch_size if self.features else self.batch_size // self.images_per_place
        if share % (self.devices * self.nodes):
            raise UsageError(
                f"--batch-size {self.batch_size} does not divide over {self.devices} x "
                f"{self.nodes} processes (in whole places, for a gallery network): expected a "
                "multiple"
            )
        if not 0 <= self.min_lr <= self.lr:
            raise UsageError(
                f"--min-lr {self.min_lr}: expected between 0 and --lr ({self.lr}), "
                "the cosine schedule ends there"
            )
        if self.images_per_place < 2 and self.features is None:
            raise UsageError(
                f"--images-per-place {self.images_per_place}: expected 2 or more, metric learning "
                "needs positive pairs"
            )
        if self.validation_features is not None and self.validation is None:
            raise UsageError("--validation-features given without --validation: pass both")

    @property
    def role(self) -> str:
        return "gallery" if self.features is None else "query"

    @property
    def loss_name(self) -> str:
        """The loss, the role's default where none was named."""
        return self.loss or (GALLERY_LOSSES if self.features is None else QUERY_LOSSES)[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        plain = asdict(self) | {"role": self.role, "loss": self.loss_name}
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()}
