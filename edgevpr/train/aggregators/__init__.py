"""Aggregators: (B, C, H, W) features to (B, D) L2-normalized descriptors."""

from edgevpr.train.aggregators.boq import BoQ
from edgevpr.train.aggregators.pooling import MLP, GeM
from edgevpr.train.aggregators.salad import SALAD
from edgevpr.train.aggregators.supervlad import SuperVLAD

__all__ = ["MLP", "SALAD", "BoQ", "GeM", "SuperVLAD"]
