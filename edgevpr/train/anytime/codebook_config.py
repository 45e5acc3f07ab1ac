"""Settings of a codebook run (``edgevpr codebook``), free of torch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from edgevpr.errors import UsageError
from edgevpr.option import Option, check_ranges
from edgevpr.train.anytime.exit_options import LEARNING_RATES


@dataclass(frozen=True)
class CodebookConfig:
    """Stage 1: a codebook of the tokens that a model's aggregator reads.

    Raises:
        UsageError: a value out of its range, or two that exclude each other.
    """

    model: Annotated[Path, Option("Trained model artifact, which stays as it is.")]
    images: Annotated[Path, Option("Training images; they need no place ids.")]
    heads: Annotated[
        int | None,
        Option(
            "Sub-spaces H that a token is cut into; 1 is one monolithic book. 12 for a ViT-B, 8 "
            "for light networks.",
            min=1,
        ),
    ] = None
    size: Annotated[
        int | None,
        Option("Prototypes M of each head. 1024 for a ViT-B, 256 for light networks.", min=2),
    ] = None
    init: Annotated[
        Literal["learned", "kmeans", "random"],
        Option(
            "learned: prototypes trained through the aggregator; kmeans or random: centres or "
            "drawn tokens, kept as they are. The temperature is trained in each."
        ),
    ] = "learned"
    token_weight: Annotated[
        float,
        Option("Weight of the tokens' own relative error beside the descriptor's.", min=0),
    ] = 0.0
    reseed_steps: Annotated[
        int,
        Option("Steps after which a prototype nearest to no token is drawn anew; 0: never.", min=0),
    ] = 200
    epochs: Annotated[int, Option("Passes over the images.", min=1)] = 10
    batch_size: Annotated[int, Option("Images in a step.", min=1)] = 64
    lr: Annotated[float, Option("Learning rate of AdamW.")] = LEARNING_RATES[0]
    min_lr: Annotated[float, Option("Learning rate at the end of the cosine schedule.", min=0)] = (
        LEARNING_RATES[1]
    )
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], Option("auto, fp32, bf16 or fp16.")
    ] = "auto"
    max_cache_mb: Annotated[
        int,
        Option(
            "Megabytes of tokens to keep in place of computing them in every epoch; 0: none.",
            min=0,
            flag="--max-cache",
        ),
    ] = 2000
    workers: Annotated[int, Option("Processes that read images.", min=0)] = 2
    seed: Annotated[int, Option("Seed of everything random.", min=0)] = 0

    #: one process: prototypes are drawn anew from its own batches.
    devices = 1
    nodes = 1
    warmup_steps = 0
    weight_decay = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if not 0 <= self.min_lr <= self.lr or not self.lr > 0:
            raise UsageError(
                f"found `lr` {self.lr} and `min_lr` {self.min_lr}, expected the first above 0 and "
                "the second, where the cosine schedule ends, from 0 up to it: leave both out"
            )

    @property
    def learning_rates(self) -> tuple[float, float]:
        return self.lr, self.min_lr

    def to_dict(self) -> dict[str, Any]:
        """Plain values for config.json."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
