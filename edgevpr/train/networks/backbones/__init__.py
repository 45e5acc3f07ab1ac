"""Backbones: (B, 3, H, W) normalized images to (B, C, h, w) features.

::

    dinov2         DINOv2 with the published parameter names
    timm_features  any timm model
"""

from edgevpr.train.networks.backbones.dinov2 import DINOv2, DINOv2Features, DINOv2Stem
from edgevpr.train.networks.backbones.timm_features import TimmFeatures

__all__ = ["DINOv2", "DINOv2Features", "DINOv2Stem", "TimmFeatures"]
