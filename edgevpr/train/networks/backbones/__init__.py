"""Backbones: (B, 3, H, W) normalized images to (B, C, h, w) features."""

from edgevpr.train.networks.backbones.dinov2 import DINOv2, DINOv2Features
from edgevpr.train.networks.backbones.timm_features import TimmFeatures

__all__ = ["DINOv2", "DINOv2Features", "TimmFeatures"]
