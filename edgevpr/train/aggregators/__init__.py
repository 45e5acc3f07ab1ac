"""Aggregators: (B, C, H, W) features to (B, D) L2-normalized descriptors."""

from edgevpr.train.aggregators.boq import BoQ

__all__ = ["BoQ"]
