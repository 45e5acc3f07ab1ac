"""Aggregators: (B, C, H, W) features to (B, D) L2-normalized descriptors."""

from edgevpr.train.networks.aggregators.boq import BoQ
from edgevpr.train.networks.aggregators.pooling import MLP, GeM
from edgevpr.train.networks.aggregators.salad import SALAD
from edgevpr.train.networks.aggregators.supervlad import SuperVLAD

__all__ = ["MLP", "SALAD", "BoQ", "GeM", "SuperVLAD"]
