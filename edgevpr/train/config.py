"""Settings of a training run; the defaults are the paper's.

Torch is not imported here: the command line reads names, defaults and help from ``TrainConfig``.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from edgevpr.errors import UsageError
from edgevpr.option import Option, check_ranges
from edgevpr.train.anytime.exit_options import LEARNING_RATES, ExitOptions
from edgevpr.train.losses.arguments import (
    BANK_LOSSES,
    GALLERY_LOSSES,
    QUERY_LOSSES,
    check_temperature,
    loss_arguments,
)
from edgevpr.train.networks.architecture import Architecture

#: Options that change or describe a network, which early exits leave as it is.
OF_NETWORKS = (
    "weights", "backbone_weights", "aggregator_from", "qat", "through_index", "image_size", "mean",
    "std",
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """One training run: of a gallery network, with ``features`` of a query network, or of exits.

    With ``early_exits.anytime``, architecture, image size and normalization are that model's.

    Raises:
        UsageError: a value out of its range, or two that exclude each other.
    """

    images: Annotated[Path, Option("Training images with place ids.")]
    architecture: Architecture
    early_exits: ExitOptions = field(default_factory=ExitOptions)
    features: Annotated[
        Path | None,
        Option(
            "Gallery-network features of these images (edgevpr embed): trains a query network into "
            "their space. Without it, a gallery network is trained."
        ),
    ] = None
    weights: Annotated[
        Path | None,
        Option("Safetensors of a whole network of this architecture to start from."),
    ] = None
    backbone_weights: Annotated[
        Path | None,
        Option(
            "Safetensors to start the backbone from; BatchNorm that was folded into its "
            "convolutions is taken out again, with 256 training images."
        ),
    ] = None
    #: the same kind with the same arguments; layers that depend on the backbone's channels start
    #: at random.
    aggregator_from: Annotated[
        Path | None, Option("Start the aggregator from this model's (the gallery network's).")
    ] = None
    loss: Annotated[
        str,
        Option(
            "Gallery networks: multi-similarity (default), supcon or crls. Query networks: "
            "implicit (default, Eq. 8), asymmetric, explicit, queue, csd, rop, msp, d3still, raml "
            "or regression."
        ),
    ] = ""
    #: see ``losses.arguments.ARGUMENTS``.
    loss_args: Annotated[
        dict[str, Any], Option("A number of the loss, NAME=VALUE; repeatable.")
    ] = field(default_factory=dict)
    validation: Annotated[
        Path | None, Option("Folder with database/ and queries/, scored each epoch.")
    ] = None
    validation_features: Annotated[
        Path | None, Option("Gallery-network features of its database/.")
    ] = None
    cities: Annotated[
        tuple[str, ...], Option("Only this city of GSV-Cities; repeatable.", flag="--city")
    ] = ()
    #: see ``place_ids.places_from_positions``.
    places_from: Annotated[
        Literal["ids", "gps"], Option("ids, or gps: cells of a grid with bins of heading.")
    ] = "ids"
    cell_m: Annotated[float, Option("Side of a cell in metres, for gps.", flag="--cell")] = 10.0
    heading_deg: Annotated[
        float,
        Option("Width of a bin of heading in degrees, for gps.", max=360, flag="--heading-bin"),
    ] = 30.0
    image_size: Annotated[int, Option("Height and width in pixels.", min=1)] = 322
    epochs: Annotated[int, Option("Passes over the images (or places).", min=1)] = 15
    batch_size: Annotated[int, Option("Images in a step.", min=1)] = 64
    images_per_place: Annotated[
        int, Option("Images of one place in a batch (gallery networks).", min=2)
    ] = 4
    lr: Annotated[
        float | None, Option("Learning rate of AdamW: 5e-4, or 1e-3 for early exits.")
    ] = None
    min_lr: Annotated[
        float | None,
        Option(
            "Learning rate at the end of the cosine schedule: 1e-4, or 1e-5 for early exits.", min=0
        ),
    ] = None
    warmup_steps: Annotated[int, Option("Steps of linear warm-up.", min=0)] = 0
    weight_decay: Annotated[float, Option("Weight decay of AdamW.", min=0)] = 1e-2
    tau: Annotated[float, Option("Temperature of the loss, Eq. 3 and 8.", max=1)] = 0.05
    gamma: Annotated[
        float, Option("Strength of the implicit augmentation, Eq. 8; 0 is Eq. 3.", min=0)
    ] = 15.0
    mean: Annotated[
        tuple[float, float, float], Option("RGB mean, of values in [0, 1].")
    ] = (0.485, 0.456, 0.406)  # fmt: skip
    std: Annotated[
        tuple[float, float, float], Option("RGB standard deviation, of values in [0, 1].")
    ] = (0.229, 0.224, 0.225)
    #: crop 1.0 with light 0.0 switches augmentation off.
    crop: Annotated[float, Option("Smallest random crop, a fraction of a side.", max=1)] = 0.75
    light: Annotated[
        float, Option("Largest random change of exposure and contrast, a fraction.", min=0)
    ] = 0.3
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], Option("auto, fp32, bf16 or fp16.")
    ] = "auto"
    qat: Annotated[
        bool,
        Option(
            "Quantization-aware: round the layers that INT8 engines round. Finetunes a trained "
            "query network (`weights`) that loses recall in INT8."
        ),
    ] = False
    through_index: Annotated[
        Path | None,
        Option(
            "Gallery to train a query network through: also find each image by what this index's "
            "product quantizer stores of it."
        ),
    ] = None
    devices: Annotated[
        int, Option("GPUs (or CPU processes) that share each batch, on each machine.", min=1)
    ] = 1
    nodes: Annotated[int, Option("Machines; start one command on each.", min=1)] = 1
    workers: Annotated[int, Option("Processes that read images.", min=0)] = 2
    seed: Annotated[int, Option("Seed of everything random.", min=0)] = 0

    def __post_init__(self) -> None:
        check_temperature(self.tau, self.gamma)
        self._check_ranges()
        self._check_of_networks_only()
        self._check_loss()
        self._check_query_only()
        self._check_batch()
        if self.validation_features is not None and self.validation is None:
            raise UsageError(
                "found `validation_features` alone, expected the images that they describe too: "
                "pass `validation`"
            )

    def _check_ranges(self) -> None:
        lr, min_lr = self.learning_rates
        if not lr > 0:
            raise UsageError(f"found `lr` {lr}, expected above 0: pass the paper's `lr` 5e-4")
        if not 0 <= min_lr <= lr:
            raise UsageError(
                f"found `min_lr` {min_lr}, expected 0 to `lr` ({lr}), where the cosine schedule "
                "ends: lower `min_lr`"
            )
        check_ranges(self)

    def _check_loss(self) -> None:
        if self.for_exits:
            self._check_loss_of_exits()
            return
        choices = GALLERY_LOSSES if self.features is None else QUERY_LOSSES
        if self.loss_name not in choices:
            other = "with" if self.features is None else "without"
            raise UsageError(
                f"found `loss` {self.loss}, expected one of {', '.join(choices)} for a {self.role} "
                f"network: change it, or train the other kind {other} `features`"
            )
        loss_arguments(self.loss_name, self.loss_args)

    def _check_loss_of_exits(self) -> None:
        if self.target == "gallery" and self.features is None:
            raise UsageError(
                "found `target` gallery without `features`, expected the gallery network's "
                "descriptors of these images: pass `features`, or `target` own"
            )
        if self.loss and (self.target == "own" or self.loss not in BANK_LOSSES):
            raise UsageError(
                f"found `loss` {self.loss} for early exits with `target` {self.target}, expected "
                f"one of {', '.join(BANK_LOSSES)} with `target` gallery, or none: leave out `loss`"
            )
        loss_arguments(self.loss_name, self.loss_args)

    def _check_of_networks_only(self) -> None:
        """Early exits leave a network as it is: what changes or describes one is refused."""
        if not self.for_exits:
            return
        for name in OF_NETWORKS:
            if getattr(self, name) != TrainConfig.__dataclass_fields__[name].default:
                raise UsageError(
                    f"found `{name}` with `anytime`, expected options of early exits alone, as the "
                    f"model itself stays as it is: leave out `{name}`"
                )
        if self.architecture != Architecture():
            raise UsageError(
                f"found the backbone {self.architecture.backbone} with `anytime`, expected no "
                "architecture beside that of the model: leave out `backbone` and `aggregator` with "
                "their arguments"
            )

    def _check_query_only(self) -> None:
        if self.features is not None:
            return
        if self.qat:
            raise UsageError(
                "found `qat` without `features`, expected both, as only query networks are "
                "compiled to INT8: pass the features it is trained into"
            )
        if self.through_index is not None:
            raise UsageError(
                "found `through_index` without `features`, expected both, as only query networks "
                "search an index: pass the features it is trained into"
            )

    def _check_batch(self) -> None:
        """Every process takes the same number of images (of whole places, in metric learning)."""
        alone = self.features is not None or self.for_exits
        share = self.batch_size if alone else self.batch_size // self.images_per_place
        processes = self.devices * self.nodes
        if share % processes:
            raise UsageError(
                f"found `batch_size` {self.batch_size}, expected a multiple of the {self.devices} "
                f"x {self.nodes} processes (in whole places, for a gallery network): change "
                "`batch_size`"
            )

    @property
    def for_exits(self) -> bool:
        """Whether early exits are trained, and no network."""
        return self.early_exits.anytime is not None

    @property
    def target(self) -> str:
        """What early exits are trained towards: "own" or "gallery"."""
        asked = self.early_exits.target
        return asked if asked != "auto" else "own" if self.features is None else "gallery"

    @property
    def learning_rates(self) -> tuple[float, float]:
        """``lr`` and ``min_lr``, the kind of run's defaults where they were not named."""
        high, low = LEARNING_RATES if self.for_exits else (5e-4, 1e-4)
        return self.lr if self.lr is not None else high, (
            self.min_lr if self.min_lr is not None else low
        )

    @property
    def role(self) -> str:
        return "gallery" if self.features is None else "query"

    @property
    def loss_name(self) -> str:
        """The loss, the role's default where none was named."""
        if self.for_exits:
            return self.loss or (BANK_LOSSES[0] if self.target == "gallery" else "regression")
        return self.loss or (GALLERY_LOSSES if self.features is None else QUERY_LOSSES)[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        lr, min_lr = self.learning_rates
        plain = asdict(self) | {"role": self.role, "loss": self.loss_name}
        plain |= {"lr": lr, "min_lr": min_lr}
        exits = plain.pop("early_exits")
        plain |= exits | {"target": self.target} if self.for_exits else {}
        return {k: str(v) if isinstance(v, Path) else v for k, v in plain.items()}
