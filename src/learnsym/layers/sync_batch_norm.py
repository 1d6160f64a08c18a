"""Batch norm over the whole global batch when several processes share it, on CPU as well as on GPU.

torch.nn.SyncBatchNorm takes GPU tensors only; this one is plain differentiable all-reduces, so that
two CPU processes give the numbers of one.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learnsym.layers.batch_norm_swish import SwishNorm
from learnsym.utils.collectives import all_reduce_sum


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d with the mean and variance of all processes' rows [B, C, H, W]; the same
    state_dict.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise with the statistics of the global batch in training, with the running ones in
        evaluation.
        """
        if (
            not self.training
            or not dist.is_initialized()
            or self.running_mean is None
            or self.running_var is None
        ):
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_full((1,), x.numel() / x.shape[1])
        count, total = torch.split(
            all_reduce_sum(torch.cat([count, x.sum(dim=(0, 2, 3))])), [1, self.num_features]
        )
        mean = total / count
        # A second pass for the variance: sums of squares would cancel.
        centred = x - mean.view(1, -1, 1, 1)
        variance = all_reduce_sum(centred.square().sum(dim=(0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach(), count.detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        out = centred * scale.view(1, -1, 1, 1)
        if self.affine:
            out = out + self.bias.view(1, -1, 1, 1)
        return out.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics (the variance unbiased), as nn.BatchNorm2d does."""
        self.num_batches_tracked.add_(1)
        momentum = (
            self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        )
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(
            (variance * count / (count - 1)).to(self.running_var.dtype), momentum
        )


class GlobalSwishNorm(SwishNorm):
    """SwishNorm with the mean and variance of all processes' rows [P, C], of which each may have
    its own number.
    """

    def moments(self, rows: Tensor) -> tuple[int | Tensor, Tensor, Tensor]:
        """Number of rows, mean and variance [C] of the global batch."""
        if not dist.is_initialized():
            return super().moments(rows)
        count, total = torch.split(
            all_reduce_sum(torch.cat([rows.new_full((1,), len(rows)), rows.sum(0)])),
            [1, self.num_features],
        )
        mean = total / count
        return count.detach(), mean, all_reduce_sum((rows - mean).square().sum(0)) / count


def synchronise_norms(net: nn.Module) -> nn.Module:
    """Replace every nn.BatchNorm2d and SwishNorm of a network by its global twin, in place;
    parameters and buffers are kept.
    """
    for module in net.modules():
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                twin = GlobalBatchNorm2d(
                    child.num_features,
                    child.eps,
                    child.momentum,
                    child.affine,
                    child.track_running_stats,
                )
            elif type(child) is SwishNorm:
                twin = GlobalSwishNorm(child.num_features)
            else:
                continue
            twin.load_state_dict(child.state_dict())
            twin.train(child.training)
            setattr(module, name, twin)
    return net
