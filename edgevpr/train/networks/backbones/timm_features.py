"""timm backbones as feature extractors."""

from pathlib import Path

import timm
from torch import Tensor, nn

from edgevpr.errors import DataError, UsageError


class TimmFeatures(nn.Module):
    """(B, 3, H, W) -> (B, C, H / reduction, W / reduction), one feature level of a timm model.

    Args:
        name: a timm model that can return feature maps, for example ``efficientvit_b2``,
            ``mobilevitv2_100``, ``resnet18``.
        out_index: which feature level; -1 is the deepest.
        options: further arguments of the timm model (``pad_type="same"``).

    Raises:
        UsageError: timm does not know the model, or it has no such feature level.
    """

    def __init__(
        self, name: str, out_index: int = -1, options: dict[str, str] | None = None
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name.partition('_')[0]}*")[:5]) or "timm's list"
            raise UsageError(
                f"found `backbone` {name}, expected a model that timm knows: try one of {near}"
            )
        try:
            self.body = timm.create_model(
                name, pretrained=False, features_only=True, out_indices=(out_index,),
                **(options or {}),
            )  # fmt: skip
        except (IndexError, AssertionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"found `out_index` {out_index}, expected a feature level of {name} ({error}): "
                "pass a smaller `out_index`"
            ) from error
        self.channels: int = self.body.feature_info.channels()[-1]
        self.reduction: int = self.body.feature_info.reduction()[-1]

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)[-1]
        return features

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the feature map of an image."""
        return -(-height // self.reduction), -(-width // self.reduction)

    def load_pretrained(self, path: Path) -> int:
        """Start from a safetensors state dict with timm's own parameter names, or of a model.

        Returns:
            how many of this network's tensors were filled.

        Raises:
            DataError: the file does not hold this backbone's weights.
        """
        from safetensors.torch import load_file

        prefix = "backbone.body."
        state = {name.removeprefix(prefix): value for name, value in load_file(path).items()}
        own = self.body.state_dict()
        # A features_only model flattens "blocks.0.1" style names only for some families.
        fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        flattened = {k.replace(".", "_", 1): v for k, v in state.items()}
        fitting |= {k: v for k, v in flattened.items() if k in own and own[k].shape == v.shape}
        wanted = {k for k in own if not k.endswith("num_batches_tracked")}
        if not wanted <= set(fitting):
            missing = sorted(wanted - set(fitting))
            raise DataError(
                f"found {len(fitting)} of the {len(wanted)} tensors of this backbone in {path}, "
                f"expected all ({missing[0]} is missing): pass the `backbone_weights` of this "
                "`backbone`"
            )
        self.body.load_state_dict(fitting, strict=False)
        return len(fitting)
