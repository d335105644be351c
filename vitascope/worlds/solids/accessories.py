"""Facial expressions and accessories: small solids placed by a character's `Face`."""

from __future__ import annotations

from math import pi

from vitascope.worlds.solids.cast import BEAK, DARK, LIGHT, RGB, Face, Part
from vitascope.worlds.solids.words import Accessory, Expression

GOLD: RGB = (0.98, 0.78, 0.18)
CRIMSON: RGB = (0.70, 0.10, 0.16)
NAVY: RGB = (0.12, 0.20, 0.55)


def expression_parts(face: Face, expression: Expression | None) -> list[Part]:
    """Parts of the eyes, brows and mouth."""
    x, y, z = face.eyes
    radius = face.eye * (1.35 if expression == "surprised" else 1.0)
    parts = [Part("sphere", (radius, 0.5 * radius, radius), (side * x, y, z), face.eye_colour) for side in (-1, 1)]
    if face.eye_colour != LIGHT:  # highlights
        glint = 0.35 * radius
        parts += [
            Part("sphere", (glint, glint, glint), (side * x + 0.3 * radius, y - 0.8 * radius, z + 0.4 * radius), LIGHT)
            for side in (-1, 1)
        ]
    return parts + _brows(face, expression) + _mouth(face, expression)


def _brows(face: Face, expression: Expression | None) -> list[Part]:
    slant = {"angry": 0.5, "sad": -0.45}.get(expression or "")
    if slant is None:
        return []
    x, y, z = face.eyes
    bar = (1.5 * face.eye, 0.012, 0.3 * face.eye)
    return [
        Part("box", bar, (side * x, y - 0.6 * face.eye, z + 1.7 * face.eye), face.ink, (0.0, -slant * side))
        for side in (-1, 1)
    ]


def _mouth(face: Face, expression: Expression | None) -> list[Part]:
    (y, z), width = face.mouth, face.mouth_width
    if expression == "surprised":
        return [Part("ellipsoid", (0.45 * width, 0.02, 0.6 * width), (0.0, y, z), face.ink)]
    bend = {"happy": 0.6, "sad": -0.6}.get(expression or "", 0.0)
    half, thickness = 0.5 * width, 0.2 * width
    return [  # two strokes that meet in the middle; a smile raises their outer ends
        Part(
            "capsule",
            (thickness, thickness, half),
            (side * half, y, z + 0.5 * half * bend),
            face.ink,
            (0.0, side * (0.5 * pi - bend)),
        )
        for side in (-1, 1)
    ]


def accessory_parts(face: Face, accessory: Accessory, colour: RGB) -> list[Part]:
    """Parts of an accessory; its cloth contrasts with the character's colour."""
    cloth = NAVY if colour[0] > max(colour[1], colour[2]) else CRIMSON
    match accessory:
        case "hat":
            y, z, r = face.crown
            return [
                Part("cylinder", (1.45 * r, 1.45 * r, 0.015), (0.0, y, z), DARK),
                Part("cylinder", (0.9 * r, 0.9 * r, 0.10), (0.0, y, z + 0.10), DARK),
                Part("cylinder", (0.93 * r, 0.93 * r, 0.02), (0.0, y, z + 0.035), cloth),
            ]
        case "crown":
            y, z, r = face.crown
            band = Part("cylinder", (0.95 * r, 0.95 * r, 0.035), (0.0, y, z + 0.02), GOLD)
            places = ((0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 0.0))
            return [
                band,
                *(
                    Part("cone", (0.35 * r, 0.35 * r, 0.05), (0.7 * r * dx, y + 0.7 * r * dy, z + 0.10), GOLD)
                    for dx, dy in places
                ),
            ]
        case "scarf":
            y, z, r = face.neck
            return [
                Part("ellipsoid", (1.15 * r, 1.15 * r, 0.055), (0.0, y, z), cloth),
                Part("box", (0.05, 0.02, 0.11), (0.5 * r, y - 1.08 * r, z - 0.10), cloth),
            ]
        case "glasses":
            x, y, z = face.eyes
            rim = 1.7 * face.eye
            front = y - 0.9 * face.eye
            ring = [
                Part("cylinder", (rim, rim, 0.008), (side * x, front, z), DARK, (0.5 * pi, 0.0)) for side in (-1, 1)
            ]
            lens = [
                Part(
                    "cylinder",
                    (0.75 * rim, 0.75 * rim, 0.012),
                    (side * x, front, z),
                    (0.7, 0.85, 0.95),
                    (0.5 * pi, 0.0),
                )
                for side in (-1, 1)
            ]
            return [*ring, *lens, Part("box", (x - 0.8 * rim, 0.01, 0.012), (0.0, front, z), DARK)]
        case "bow":
            y, z, r = face.neck
            wings = [
                Part("cone", (0.06, 0.03, 0.05), (side * 0.06, y - 1.05 * r, z - 0.03), cloth, (0.0, -side * 0.5 * pi))
                for side in (-1, 1)
            ]
            return [*wings, Part("sphere", (0.025, 0.025, 0.025), (0.0, y - 1.1 * r, z - 0.03), BEAK)]
