"""Check the inputs of networks of images and of point clouds."""

from torch import Tensor


def check_images(network: str, images: Tensor, channels: int, smallest_side: int) -> None:
    """Raise ValueError unless images are [B, channels, H, W] with H and W >= smallest_side."""
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(
            f"{network} was built for images [B, {channels}, H, W] and got {list(images.shape)}"
        )
    height, width = images.shape[-2:]
    if min(height, width) < smallest_side:
        raise ValueError(
            f"{network} needs images of at least {smallest_side} x {smallest_side} pixels and got "
            f"{height} x {width}"
        )


def check_clouds(network: str, clouds: Tensor, features: int) -> None:
    """Raise ValueError unless clouds are [B, N, 3 + features], at least one of at least a point."""
    if clouds.ndim != 3 or clouds.shape[2] != 3 + features or 0 in clouds.shape[:2]:
        raise ValueError(
            f"{network} was built for point clouds [B, N, 3 + {features}], coordinates and "
            f"features, and got {list(clouds.shape)}"
        )
