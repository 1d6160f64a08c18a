"""Preconditions of image networks, said in one sentence."""

from torch import Tensor


def check_images(network: str, images: Tensor, channels: int, smallest_side: int) -> None:
    """Refuse anything but images [B, channels, H, W] with both sides of at least `smallest_side` pixels."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(f"{network} was built for images [B, {channels}, H, W] and got {list(images.shape)}")
    height, width = images.shape[-2:]
    if min(height, width) < smallest_side:
        raise ValueError(
            f"{network} needs images of at least {smallest_side} x {smallest_side} pixels and got {height} x {width}"
        )
