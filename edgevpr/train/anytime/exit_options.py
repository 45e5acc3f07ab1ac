"""Options of the training of early exits (``edgevpr train --anytime``), free of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edgevpr.errors import UsageError
from edgevpr.option import Option

#: Learning rates of codebooks and exits: the small modules on a frozen network bear higher ones
#: than a network does.
LEARNING_RATES = (1e-3, 1e-5)


@dataclass(frozen=True)
class ExitOptions:
    """Early exits of a trained network; without ``anytime`` a network is trained.

    Raises:
        UsageError: options of exits without a network, or the other way round.
    """

    anytime: Annotated[
        Path | None,
        Option(
            "Trained model to give early exits, in place of training a network: they answer in its "
            "own descriptor space, and its full path stays as it is."
        ),
    ] = None
    codebook: Annotated[
        Path | None,
        Option("Codebook of that model's tokens (edgevpr codebook) that exits compose from."),
    ] = None
    exits: Annotated[
        str,
        Option(
            "Where it is left, earliest first: L4,L6 after four and six blocks of DINOv2, 1.1,2.1 "
            "after blocks 1 of stages 1 and 2 of other backbones."
        ),
    ] = ""
    adapter: Annotated[
        Literal["mlp", "attention"],
        Option("What regresses tokens at an exit: mlp, or attention (a transformer block first)."),
    ] = "mlp"
    method: Annotated[
        Literal["auto", "composition", "regression"],
        Option(
            "What becomes of regressed tokens: mixtures of the codebook's (composition), nothing "
            "(regression), or at each exit what validates better (auto)."
        ),
    ] = "auto"
    target: Annotated[
        Literal["auto", "own", "gallery"],
        Option(
            "What exits are trained towards: own, the model's descriptors of its full path (L2), "
            "or gallery, the gallery network's (Eq. 8). auto: gallery with `features`, else own.",
            flag="--towards",
        ),
    ] = "auto"
    max_cache_mb: Annotated[
        int,
        Option(
            "Megabytes of states of the frozen backbone to keep in place of computing them in "
            "every epoch, where images are not augmented (`crop` 1, `light` 0); 0: none.",
            min=0,
            flag="--max-cache",
        ),
    ] = 2000

    def __post_init__(self) -> None:
        if self.anytime is None:
            for name in ("codebook", "exits", "adapter", "method", "target"):
                if getattr(self, name) != ExitOptions.__dataclass_fields__[name].default:
                    raise UsageError(
                        f"found `{name}` without `anytime`, expected the model that gets early "
                        "exits, too: pass `anytime`"
                    )
            return
        if not self.names:
            raise UsageError(
                "found `anytime` without `exits`, expected where the network is left: pass "
                "`exits`, for example L4,L8 of DINOv2 or 1.1,2.1 of MobileViTv2"
            )
        if self.codebook is None and self.method != "regression":
            raise UsageError(
                f"found `method` {self.method} without `codebook`, expected one to compose tokens "
                "from: write it with edgevpr codebook MODEL IMAGES -o CODEBOOK, or pass `method` "
                "regression"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The exits, as they were given."""
        return tuple(name.strip() for name in self.exits.split(",") if name.strip())

    @property
    def methods(self) -> tuple[Literal["composition", "regression"], ...]:
        """What is trained at every exit."""
        return ("composition", "regression") if self.method == "auto" else (self.method,)
