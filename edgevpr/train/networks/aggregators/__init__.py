"""Aggregators: (B, C, H, W) features to (B, D) L2-normalized descriptors.

::

    boq        bag of learnable queries
    salad      optimal transport to clusters
    supervlad  VLAD without cluster centres
    pooling    GeM and MLP
"""

from edgevpr.train.networks.aggregators.boq import BoQ
from edgevpr.train.networks.aggregators.pooling import MLP, GeM
from edgevpr.train.networks.aggregators.salad import SALAD
from edgevpr.train.networks.aggregators.supervlad import SuperVLAD

__all__ = ["MLP", "SALAD", "BoQ", "GeM", "SuperVLAD"]
