# Ultralytics 🚀 AGPL-3.0 License - https://ultralytics.com/license
"""Draws the demo's images with OpenCV: a bench with hardware whose kinds share colours and differ in outline."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

CLASSES = ("washer", "lock washer", "hex nut", "square nut", "gear", "bolt")
METALS = ((186, 182, 178), (150, 146, 142), (96, 158, 196), (84, 118, 178), (78, 76, 74), (120, 140, 158))  # BGR
SCALE = 2  # pixels drawn for one kept, in each direction: averaging them smooths the edges


def draw_image(rng: np.random.Generator, imgsz: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image with its labels.

    Args:
        rng (np.random.Generator): Decides everything.
        imgsz (int): Side in pixels.

    Returns:
        image (np.ndarray): BGR image (imgsz, imgsz, 3), uint8.
        labels (np.ndarray): Class and normalised centre x, y, width, height of each object (n, 5), float64.
    """
    side = imgsz * SCALE
    canvas = _background(rng, side)
    unit = side / 160  # lengths below are in pixels of a 160 pixel image
    for _ in range(rng.integers(3, 8)):
        _distractor(rng, canvas, unit)
    owner = np.full((side, side), -1, np.int16)  # which object is seen at each pixel
    areas: list[int] = []
    labels = []
    light = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(3, 8)):
        kind = int(rng.integers(len(CLASSES)))
        radius = unit * float(np.exp(rng.uniform(np.log(12.0), np.log(30.0))))
        centre = rng.uniform(0.6 * radius, side - 0.6 * radius, 2)
        pose = radius * _pose(rng)
        contours = [c @ pose + centre for c in outline(CLASSES[kind], rng)]
        mask = _fill(side, contours)
        area = int(_area(contours))
        hidden = np.bincount(owner[mask & (owner >= 0)], minlength=len(areas)) if areas else np.zeros(0)
        seen = np.bincount(owner[owner >= 0], minlength=len(areas)) if areas else np.zeros(0)
        if area == 0 or mask.sum() < 0.65 * area or np.any(seen - hidden < 0.65 * np.array(areas)):
            continue  # too little of it, or of one under it, would be seen
        owner[mask] = len(areas)
        areas.append(area)
        _paint(rng, canvas, mask, light, unit)
        low, high = contours[0].min(0).clip(0, side) / side, contours[0].max(0).clip(0, side) / side
        labels.append((kind, *((low + high) / 2), *(high - low)))
    for _ in range(rng.integers(0, 3)):
        _wire(rng, canvas, unit)
    return _photograph(rng, canvas, imgsz), np.array(labels, dtype=np.float64).reshape(-1, 5)


def outline(name: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the contours of an object of radius 1 around the origin.

    Args:
        name (str): One of `CLASSES`.
        rng (np.random.Generator): For the size of holes, gaps and teeth.

    Returns:
        (list[np.ndarray]): The outer contour (n, 2) and, where there is one, the hole's.
    """
    hole = _ring(rng.uniform(0.42, 0.6))
    if name == "washer":
        return [_ring(1.0), hole]
    if name == "lock washer":  # a ring with a slanted cut
        gap, inner = rng.uniform(0.45, 0.8), rng.uniform(0.5, 0.62)
        angle = np.linspace(gap / 2, 2 * np.pi - gap / 2, 48)
        arc = np.stack([np.cos(angle), np.sin(angle)], 1)
        slant = angle + rng.choice([-0.25, 0.25])
        return [np.concatenate([arc, inner * np.stack([np.cos(slant), np.sin(slant)], 1)[::-1]])]
    if name == "hex nut":
        return [_polygon(6), hole]
    if name == "square nut":
        return [_polygon(4), hole]
    if name == "bolt":  # a hex nut without its hole
        return [_polygon(6)]
    teeth = int(rng.integers(8, 12))
    radius = np.tile([1.0, 1.0, 0.76, 0.76], teeth)[:, None]
    return [radius * _polygon(4 * teeth), hole]


def _ring(radius: float) -> np.ndarray:
    """Return a circle."""
    return _polygon(48) * radius


def _polygon(sides: int) -> np.ndarray:
    """Return a regular polygon with its corners on the unit circle."""
    angle = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _pose(rng: np.random.Generator) -> np.ndarray:
    """Return a matrix (2, 2) that turns an object and looks at it from a slant."""
    (a, b), squeeze = rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.8, 1.0)
    turn = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in (a, b)]
    return turn[0] @ np.diag([1.0, squeeze]) @ turn[1]


def _fill(side: int, contours: Sequence[np.ndarray]) -> np.ndarray:
    """Return the pixels inside the outer contour and outside the hole, as a mask (side, side) of bools."""
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(c * 16).astype(np.int32) for c in contours], 1, shift=4)  # even-odd: holes stay empty
    return mask.astype(bool)


def _area(contours: Sequence[np.ndarray]) -> float:
    """Return the area of an object in pixels, the part beyond the image's border included."""
    outer, *holes = (cv2.contourArea(c.astype(np.float32)) for c in contours)
    return outer - sum(holes)


def _background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return a bench of wood, cloth or steel as a float32 image (side, side, 3) with values from 0 to 255."""
    colour = rng.uniform(60, 190) * rng.uniform(0.75, 1.25, 3)
    grain = [int(rng.integers(2, 7)), int(rng.integers(20, 60))]  # coarse along one direction: wood; both: cloth, dirt
    grain = grain[:: rng.choice([-1, 1])] if rng.random() < 0.6 else [int(rng.integers(4, 30))] * 2
    texture = cv2.resize(rng.normal(size=grain).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    along = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    slope = rng.uniform(-40, 40) * along + rng.uniform(-40, 40) * along[:, None]
    return colour.astype(np.float32) + (np.float32(rng.uniform(4, 14)) * texture + slope.astype(np.float32))[..., None]


def _distractor(rng: np.random.Generator, canvas: np.ndarray, unit: float) -> None:
    """Draw something that is none of the classes: a screw seen from the side, a coin, a rubber ring or a shard."""
    side = len(canvas)
    centre, radius, colour = (
        rng.uniform(0, side, 2),
        unit * rng.uniform(4, 14),
        rng.choice(METALS) * rng.uniform(0.6, 1.1),
    )
    turn = _pose(rng)
    kind = rng.integers(4)
    if kind == 0:
        shapes = [[np.array([[-2, -0.2], [1.2, -0.2], [1.2, 0.2], [-2, 0.2]])], [_polygon(4) * 0.6 + [1.2, 0]]]
    elif kind == 1:
        shapes = [[_polygon(48)]]
    elif kind == 2:
        shapes = [[_polygon(48), _polygon(48) * 0.84]]
    else:
        shapes = [[np.sort(rng.uniform(0, 2 * np.pi, 5))[:, None]]]
        shapes = [[np.concatenate([np.cos(a), np.sin(a)], 1) * rng.uniform(0.5, 1, (5, 1)) for a in s] for s in shapes]
    for contours in shapes:
        mask = _fill(side, [c @ turn * radius + centre for c in contours])
        _paint(rng, canvas, mask, rng.uniform(0, 2 * np.pi), unit, colour)


def _wire(rng: np.random.Generator, canvas: np.ndarray, unit: float) -> None:
    """Draw a bent wire across everything."""
    t = np.linspace(0, 1, 24)[:, None]
    a, b, c = rng.uniform(0, len(canvas), (3, 2))
    points = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    colour = tuple(float(v) for v in rng.uniform(20, 200, 3))
    cv2.polylines(
        canvas, [points.astype(np.int32)], False, colour, int(max(1, rng.uniform(1, 2.5) * unit)), cv2.LINE_AA
    )


def _paint(
    rng: np.random.Generator,
    canvas: np.ndarray,
    mask: np.ndarray,
    light: float,
    unit: float,
    colour: np.ndarray | None = None,
) -> None:
    """Fill a mask with shaded metal and throw its shadow, in place."""
    if not mask.any():
        return
    pad = int(6 * unit)
    ys, xs = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    box = (slice(max(ys[0] - pad, 0), ys[-1] + pad), slice(max(xs[0] - pad, 0), xs[-1] + pad))
    part, view = mask[box].astype(np.float32), canvas[box]
    colour = rng.choice(METALS) * rng.uniform(0.7, 1.2) if colour is None else colour
    dx, dy = float(np.cos(light)), float(np.sin(light))
    shift = np.array([[1, 0, 2 * unit * dx], [0, 1, 2 * unit * dy]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(part, shift, part.shape[::-1]), (0, 0), unit)
    view *= (1 - 0.5 * shadow)[..., None]
    x, y = (np.linspace(-1, 1, n, dtype=np.float32) for n in part.shape[::-1])
    soft = cv2.GaussianBlur(part, (0, 0), 1.2 * unit)
    rim = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * dx + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * dy  # edges towards the light
    shade = 1 - 0.22 * (x * dx + y[:, None] * dy) - rng.uniform(0.2, 0.6) * rim
    view[:] = np.where(mask[box][..., None], colour.astype(np.float32) * shade.astype(np.float32)[..., None], view)


def _photograph(rng: np.random.Generator, canvas: np.ndarray, imgsz: int) -> np.ndarray:
    """Reduce the canvas to the image's size and add a camera's faults: exposure, blur and noise."""
    image = cv2.resize(canvas, (imgsz, imgsz), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    image = image * rng.uniform(0.7, 1.2) + rng.uniform(2, 9) * rng.standard_normal(image.shape, np.float32)
    return image.clip(0, 255).astype(np.uint8)
