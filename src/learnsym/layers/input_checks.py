"""Check the inputs of networks of images and of point clouds."""

from torch import Tensor


def check_images(network: str, images: Tensor, channels: int, smallest_side: int) -> None:
    """Check that images are [B, channels, H, W] with sides of at least `smallest_side` pixels.

    Raises:
        ValueError: they are not.
    """
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
    """Check that clouds are [B, N, 3 + features], of at least one cloud and one point.

    Raises:
        ValueError: they are not.
    """
    if clouds.ndim != 3 or clouds.shape[2] != 3 + features or 0 in clouds.shape[:2]:
        raise ValueError(
            f"{network} was built for point clouds [B, N, 3 + {features}], coordinates and "
            f"features, and got {list(clouds.shape)}"
        )
