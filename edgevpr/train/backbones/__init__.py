"""Backbones: (B, 3, H, W) normalized images to (B, C, h, w) features."""

from edgevpr.train.backbones.dinov2 import DINOv2, DINOv2Features
from edgevpr.train.backbones.features import TimmFeatures

__all__ = ["DINOv2", "DINOv2Features", "TimmFeatures"]
