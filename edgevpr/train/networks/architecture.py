"""Architecture of a network: backbone, feature level, aggregator and their arguments."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import msgspec

from edgevpr.option import Option


@dataclass(frozen=True)
class Architecture:
    """Everything needed to build a network; stored in ``model.json``."""

    backbone: Annotated[
        str, Option("Backbone: a timm model, or dinov2_vits14, dinov2_vitb14, dinov2_vitl14.")
    ] = "mobilevitv2_100"
    out_index: Annotated[int, Option("Feature level of the backbone; -1 is the deepest.")] = -1
    backbone_args: Annotated[
        dict[str, Any], Option("Argument of the backbone, NAME=VALUE; repeatable.")
    ] = field(default_factory=dict)
    aggregator: Annotated[str, Option("Aggregator: boq, salad, supervlad, gem or mlp.")] = "boq"
    #: arguments of the aggregator other than its input channels.
    aggregator_args: Annotated[
        dict[str, Any], Option("Argument of the aggregator, NAME=VALUE; repeatable.")
    ] = field(default_factory=dict)
    #: "instance" brings day and night closer without learning; published weights need "none".
    input_norm: Annotated[
        Literal["none", "instance"],
        Option("none, or instance: standardize each image's channels first."),
    ] = "none"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Architecture":
        return msgspec.convert(record, cls)
