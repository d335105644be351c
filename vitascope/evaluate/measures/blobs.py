"""Coloured things, found and followed in a video of which nothing is known: the eyes of permanence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8

from vitascope.evaluate.measures.tracking import MAX_HUE_DISTANCE, MIN_SATURATION, hue_and_saturation, hue_distance

MIN_AREA = 0.006  # of the picture; a smaller patch of colour is a marking or noise
MAX_STEP = 0.35  # of the picture's shorter side: further from where it is expected, it is another thing
MIN_BRIGHTNESS = 0.2  # of white: the hue of what is darker is noise
NUM_BINS, BIN_DEGREES = 72, 5.0  # of the histogram of hues
MIN_PEAK = 0.01  # pixels of a main hue's bin, over the whole clip, as a share of a frame's


@dataclass(frozen=True)
class Sighting:
    """A thing in one frame: place and extent in pixels, hue in degrees."""

    frame: int
    row: float
    column: float
    area: int
    hue: float
    box: tuple[int, int, int, int]  # first and last row, first and last column

    @property
    def diameter(self) -> float:
        """Of a disc of its area."""
        return 2 * float(np.sqrt(self.area / np.pi))

    @property
    def place(self) -> Float[np.ndarray, " 2"]:
        """(row, column)."""
        return np.array([self.row, self.column])


@dataclass
class Thing:
    """What was seen of one thing, frame after frame, without gaps."""

    sightings: list[Sighting] = field(default_factory=list)

    @property
    def last(self) -> Sighting:
        """Where it was seen at the end."""
        return self.sightings[-1]

    def expected(self, frames_ahead: int = 1) -> Float[np.ndarray, " 2"]:
        """(row, column) some frames after it was last seen, if it goes on as it did."""
        return self.last.place + frames_ahead * self.velocity()

    def velocity(self, over: int = 3) -> Float[np.ndarray, " 2"]:
        """(rows, columns) a frame, over the last steps."""
        recent = self.sightings[-over - 1 :]
        return (recent[-1].place - recent[0].place) / max(1, len(recent) - 1)


def follow(frames: UInt8[np.ndarray, "t h w 3"]) -> list[Thing]:
    """Every coloured thing, from where it comes into sight to where it is lost; a thing that returns is a new one.

    A thing is a patch of one hue that doesn't touch opposite or adjoining sides of the picture, as sky and ground do.
    """
    reach = MAX_STEP * min(frames.shape[1:3])
    ended: list[Thing] = []
    followed: list[Thing] = []
    for sightings in sightings_by_frame(frames):
        pairs = sorted(
            (float(np.linalg.norm(thing.expected() - seen.place)), i, j)
            for i, thing in enumerate(followed)
            for j, seen in enumerate(sightings)
            if same_hue(thing.last, seen) and 0.2 < seen.area / thing.last.area < 5
        )
        old: set[int] = set()
        new: set[int] = set()
        for distance, i, j in pairs:
            if distance < reach and i not in old and j not in new:
                followed[i].sightings.append(sightings[j])
                old.add(i)
                new.add(j)
        ended += [thing for i, thing in enumerate(followed) if i not in old]
        followed = [thing for i, thing in enumerate(followed) if i in old]
        followed += [Thing([seen]) for j, seen in enumerate(sightings) if j not in new]
    return sorted(ended + followed, key=lambda thing: thing.sightings[0].frame)


def same_hue(one: Sighting, other: Sighting) -> bool:
    """Whether two sightings can be of one thing by their colour."""
    return bool(hue_distance(one.hue, other.hue) < MAX_HUE_DISTANCE)


def sightings_by_frame(frames: UInt8[np.ndarray, "t h w 3"]) -> list[list[Sighting]]:
    """The things in each frame, in no order."""
    hues = coloured_hues(frames)
    labels = _patches(_nearest_main_hue(hues))
    least = MIN_AREA * labels[0].size
    return [
        [
            seen
            for seen in _sightings(number, labels[number], hues[number], least)
            if not _is_backdrop(seen, labels.shape)
        ]
        for number in range(len(frames))
    ]


def coloured_hues(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w"]:
    """The hue of each pixel in degrees, NaN where there is no colour to speak of."""
    hue, saturation = hue_and_saturation(frames)
    return np.where((saturation > MIN_SATURATION) & (frames.max(axis=-1) > 255 * MIN_BRIGHTNESS), hue, np.nan)


def _nearest_main_hue(hues: Float[np.ndarray, "t h w"]) -> Int[np.ndarray, "t h w"]:
    """Which of the clip's main hues each pixel has, from 1 up; 0 for none.

    Main hues are the peaks of the clip's histogram of hues: neighbours in the picture that differ in hue are then
    never taken for one thing, however softly the edge between them runs.
    """
    counts = np.bincount((hues[~np.isnan(hues)] / BIN_DEGREES).astype(int) % NUM_BINS, minlength=NUM_BINS).astype(float)
    for _ in range(2):
        counts = 0.25 * np.roll(counts, 1) + 0.5 * counts + 0.25 * np.roll(counts, -1)
    peaks: list[float] = []
    for number in np.argsort(-counts, kind="stable"):
        middle = (number + 0.5) * BIN_DEGREES
        if counts[number] >= MIN_PEAK * hues[0].size and all(hue_distance(middle, p) > MAX_HUE_DISTANCE for p in peaks):
            peaks.append(middle)
    if not peaks:
        return np.zeros(hues.shape, int)
    distances = np.stack([hue_distance(hues, peak) for peak in peaks])
    return np.where(distances.min(axis=0) < MAX_HUE_DISTANCE, distances.argmin(axis=0) + 1, 0)  # NaN is no less


def _sightings(
    frame: int, labels: Int[np.ndarray, "h w"], hue: Float[np.ndarray, "h w"], least: float
) -> Sequence[Sighting]:
    names, areas = np.unique(labels[labels > 0], return_counts=True)
    found = []
    for name in names[areas >= least]:
        rows, columns = np.nonzero(labels == name)
        angles = np.radians(hue[rows, columns])
        middle = np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())) % 360
        box = (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max()))
        found.append(Sighting(frame, rows.mean() + 0.5, columns.mean() + 0.5, len(rows), float(middle), box))
    return found


def _is_backdrop(seen: Sighting, shape: tuple[int, ...]) -> bool:
    """Whether it touches two sides of the picture or more."""
    top, bottom, left, right = seen.box
    return (top == 0) + (bottom == shape[1] - 1) + (left == 0) + (right == shape[2] - 1) >= 2


def _patches(kinds: Int[np.ndarray, "t h w"]) -> Int[np.ndarray, "t h w"]:
    """A number for each connected patch of one kind in a frame, 0 where there is none."""
    labels = np.where(kinds > 0, np.arange(1, kinds[0].size + 1).reshape(kinds.shape[1:]), 0)
    sides = [(_part(axis, slice(None, -1)), _part(axis, slice(1, None))) for axis in (1, 2)]
    links = [(low, high, (kinds[low] == kinds[high]) & (kinds[low] > 0)) for low, high in sides]
    while True:
        before = labels.copy()
        for low, high, linked in links:
            most = np.where(linked, np.maximum(labels[low], labels[high]), 0)
            labels[low] = np.maximum(labels[low], most)
            labels[high] = np.maximum(labels[high], most)
        flat = labels.reshape(len(labels), -1)  # a pixel's number is a pixel too: what that one has by now is ahead
        ahead = np.take_along_axis(np.concatenate([np.zeros((len(flat), 1), flat.dtype), flat], axis=1), flat, axis=1)
        labels = np.maximum(labels, ahead.reshape(labels.shape))
        if np.array_equal(before, labels):
            return labels


def _part(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if k == axis else slice(None) for k in range(3))
