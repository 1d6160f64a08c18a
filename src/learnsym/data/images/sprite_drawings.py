"""Two little characters, drawn by code: a snail and a bird."""

import torch
from torch import Tensor

SIDE = 32
"""Pixels across and down."""
Colour = tuple[int, int, int]


class _Canvas:
    """A black RGB image [3, 32, 32], uint8; x to the right, y down."""

    def __init__(self) -> None:
        self.pixels = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
        middles = torch.arange(SIDE) + 0.5
        self.y, self.x = torch.meshgrid(middles, middles, indexing="ij")

    def paint(self, where: Tensor, colour: Colour) -> None:
        """Paint pixels [32, 32] in a colour, numbers in 0..255."""
        self.pixels[:, where] = torch.tensor(colour, dtype=torch.uint8)[:, None]

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Paint an ellipse about (x, y), with its half axes along x and y."""
        self.paint(((self.x - x) / width) ** 2 + ((self.y - y) / height) ** 2 <= 1, colour)

    def box(self, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
        """Paint columns `left` to before `right` of rows `top` to before `bottom`."""
        self.paint((self.x > left) & (self.x < right) & (self.y > top) & (self.y < bottom), colour)

    def triangle(self, corners: tuple[tuple[float, float], ...], colour: Colour) -> None:
        """Paint a triangle; its corners (x, y) go clockwise on the screen."""
        inside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
            inside &= (bx - ax) * (self.y - ay) - (by - ay) * (self.x - ax) >= 0
        self.paint(inside, colour)


def draw_snail() -> Tensor:
    """Draw a green snail with an orange shell: [3, 32, 32], uint8."""
    canvas = _Canvas()
    skin, shade, rim = (124, 200, 80), (72, 140, 56), (252, 204, 108)
    shell, dark = (240, 140, 40), (176, 76, 24)
    canvas.ellipse(15, 24.4, 11.5, 2.6, skin)
    canvas.triangle(((3.5, 26.8), (6.5, 22.5), (9, 26.8)), skin)
    canvas.box(7, 26, 24, 27, shade)
    canvas.ellipse(24, 20, 3.2, 6.2, skin)
    canvas.ellipse(24.8, 14.2, 3.7, 3.2, skin)
    for x, top in ((23, 7), (27, 8)):
        canvas.box(x, top + 2, x + 1, 13, skin)
        canvas.ellipse(x + 0.5, top + 1, 1.6, 1.6, (255, 255, 255))
        canvas.box(x + 1, top + 1, x + 2, top + 2, (24, 24, 48))
    canvas.box(26, 15, 28, 16, (200, 60, 60))
    for radius, colour in ((8.3, dark), (7.3, shell), (5.0, dark), (4.1, shell), (2.0, dark)):
        shift = 0.12 * (8.3 - radius)
        canvas.ellipse(13 + shift, 16 + shift, radius, radius, colour)
    canvas.ellipse(9.5, 11.5, 1.6, 1.1, rim)
    canvas.box(8, 13, 9, 15, rim)
    return canvas.pixels


def draw_bird() -> Tensor:
    """Draw a blue bird in a red cap: [3, 32, 32], uint8."""
    canvas = _Canvas()
    blue, wing, belly = (72, 132, 236), (36, 76, 172), (236, 232, 212)
    beak, red = (252, 188, 36), (220, 44, 52)
    canvas.triangle(((23, 17), (29.5, 12), (27, 20)), wing)
    for x, bottom in ((14, 28), (19, 27)):
        canvas.box(x, 23, x + 1, bottom, beak)
        canvas.box(x - 2, bottom - 1, x + 1, bottom, beak)
    canvas.ellipse(17.5, 18.5, 8.5, 6.5, blue)
    canvas.ellipse(13.8, 20.4, 4.6, 4.2, belly)
    canvas.ellipse(21, 18.5, 4.6, 3.0, wing)
    canvas.box(19, 19, 24, 20, blue)
    canvas.ellipse(12, 11, 5.4, 5.2, blue)
    canvas.triangle(((2, 13), (7.5, 10), (8, 14.5)), beak)
    canvas.ellipse(9.8, 10.6, 2.0, 2.2, (255, 255, 255))
    canvas.box(9, 10, 10, 12, (24, 24, 48))
    cap = ((canvas.x - 12.6) / 5.2) ** 2 + ((canvas.y - 8) / 4.6) ** 2 <= 1
    canvas.paint(cap & (canvas.y < 8), red)
    canvas.box(5, 7, 17, 8, (148, 20, 36))
    canvas.ellipse(13, 3.6, 1.3, 1.3, (255, 255, 255))
    return canvas.pixels
