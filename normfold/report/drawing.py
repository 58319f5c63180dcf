"""A picture of some operators as data: boxes with their roles, and arrows between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a box is in the story of one finding."""

    FINDING = "finding"
    INTO = "into"
    GONE = "gone"
    NEW = "new"
    OBSTACLE = "obstacle"
    EDGE = "edge"
    OTHER = ""


@dataclass(frozen=True)
class Box:
    """An operator, or an input or output of the graph (role EDGE). ``detail`` is the shape of its weight, if any."""

    operator: str
    name: str
    role: Role
    detail: str = ""


@dataclass(frozen=True)
class Drawing:
    """Boxes, and arrows between their indices."""

    boxes: tuple[Box, ...] = ()
    arrows: tuple[tuple[int, int], ...] = ()
