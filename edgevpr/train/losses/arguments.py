"""Names of the training losses, and the arguments each of them takes."""

from typing import Any

from edgevpr.errors import UsageError

#: Losses of a gallery network. Multi-similarity is what GSV-Cities and BoQ train with (Wang et al.,
#: CVPR 2019; Ali-bey et al., 2022); supervised contrastive as Khosla et al., NeurIPS 2020; CRLS
#: classifies places.
GALLERY_LOSSES = ("multi-similarity", "supcon", "crls")

#: Losses against the geographical memory bank: Eq. 8, 3 and 5 of Kim, Cho and Yoon.
BANK_LOSSES = ("implicit", "asymmetric", "explicit")
#: Losses that rank each image's nearest neighbours in the whole gallery.
NEIGHBOUR_LOSSES = ("csd", "rop", "msp", "d3still")
#: Losses of a query network; ``queue`` is Eq. 8 with past embeddings for the memory bank, and with
#: ``gamma`` 0 Eq. 3 with them.
QUERY_LOSSES = (*BANK_LOSSES, "queue", *NEIGHBOUR_LOSSES, "raml", "regression")

#: Arguments of each loss that has any, with their defaults: those of its paper.
ARGUMENTS: dict[str, dict[str, float]] = {
    "multi-similarity": {"alpha": 1.0, "beta": 50.0, "base": 0.0, "epsilon": 0.1},
    "supcon": {"temperature": 0.07},
    "crls": {"alpha": 0.1, "relation_tau": 0.1, "temperature": 0.05},
    "explicit": {"samples": 10},
    "queue": {"size": 4096},
    "csd": {"top_k": 256, "tau_query": 1.0, "tau_gallery": 0.01},
    "rop": {
        "top_k": 256, "temperature": 0.1, "rank_weight": 0.2, "gallery_temperature": 1e-6,
    },
    "msp": {"top_k": 256},
    "d3still": {"top_k": 256, "alpha": 100.0, "beta": 5.0, "gamma": 1.0},
    "raml": {"lambda_1": 0.7482, "lambda_2": 0.6778, "eps": 1e-6},
}  # fmt: skip


def loss_arguments(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a loss: ``given`` over its defaults.

    Raises:
        UsageError: the loss has no such argument, or the value is no number.
    """
    known = ARGUMENTS.get(name, {})
    for key, value in given.items():
        if key not in known or not isinstance(value, int | float):
            names = ", ".join(known) or "no argument"
            raise UsageError(
                f"found `loss_args` {key}={value}, expected numbers that the loss {name} takes "
                f"({names}): change or leave out {key}"
            )
    return known | given


def check_temperature(tau: float, gamma: float) -> None:
    """Refuse a temperature or an augmentation strength outside its range.

    Raises:
        UsageError: tau is not in (0, 1], or gamma is negative or not finite.
    """
    if not 0 < tau <= 1:
        raise UsageError(
            f"found `tau` {tau}, expected a temperature above 0 and at most 1: pass the paper's "
            "`tau` 0.05"
        )
    if not 0 <= gamma < float("inf"):
        raise UsageError(
            f"found `gamma` {gamma}, expected a finite number of 0 or more: pass the paper's "
            "`gamma` 15, or 0 for the loss without augmentation (Eq. 3)"
        )
