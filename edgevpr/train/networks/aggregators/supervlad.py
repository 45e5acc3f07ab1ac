"""SuperVLAD: VLAD without cluster centres, with a ghost cluster for uninformative features.

"SuperVLAD: Compact and Robust Image Descriptors for Visual Place Recognition", Lu et al.,
NeurIPS 2024. Parameter names are those of the published weights.
"""

import torch
from torch import Tensor, nn


class SuperVLAD(nn.Module):
    """(B, dim, H, W) features -> (B, clusters_num * dim) L2-normalized descriptors.

    Args:
        clusters_num: clusters that are kept.
        ghost_clusters_num: clusters that compete for features and are dropped.
        dim: channels of the backbone's feature map.
    """

    def __init__(self, clusters_num: int = 4, ghost_clusters_num: int = 1, dim: int = 768) -> None:
        super().__init__()
        self.clusters_num = clusters_num
        self.conv = nn.Conv2d(dim, clusters_num + ghost_clusters_num, 1, bias=False)
        self.dim = clusters_num * dim

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.normalize(x, dim=1)
        assignment = self.conv(x).flatten(2).softmax(1)[:, : self.clusters_num]
        sums = torch.einsum("bmn,bcn->bmc", assignment, x.flatten(2).to(assignment.dtype))
        return nn.functional.normalize(nn.functional.normalize(sums, dim=2).flatten(1), dim=-1)
