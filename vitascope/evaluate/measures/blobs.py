"""Coloured blobs: detected by hue in each frame and tracked through a video, without knowledge of its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8

from vitascope.evaluate.measures.tracking import MAX_HUE_DISTANCE, MIN_SATURATION, hue_and_saturation, hue_distance

MIN_AREA = 0.006  # share of the picture; smaller patches of colour are markings or noise
MAX_STEP = 0.35  # share of the shorter side; detections further from the prediction start a new blob
MIN_BRIGHTNESS = 0.2  # share of white; hues of darker pixels are noise
NUM_BINS, BIN_DEGREES = 72, 5.0  # bins of the histogram of hues
MIN_PEAK = 0.01  # least pixels in a main hue's bin, summed over the clip, as a share of one frame


@dataclass(frozen=True)
class Detection:
    """A blob in one frame: position and extent in pixels, hue in degrees."""

    frame: int
    row: float
    column: float
    area: int
    hue: float
    box: tuple[int, int, int, int]  # first and last row, first and last column

    @property
    def diameter(self) -> float:
        """Diameter of a disc of the same area."""
        return 2 * float(np.sqrt(self.area / np.pi))

    @property
    def position(self) -> Float[np.ndarray, " 2"]:
        """(row, column)."""
        return np.array([self.row, self.column])


@dataclass
class Blob:
    """The track of one blob: a detection in every frame from its first to its last."""

    detections: list[Detection] = field(default_factory=list)

    @property
    def last(self) -> Detection:
        """The last detection."""
        return self.detections[-1]

    def expected(self, frames_ahead: int = 1) -> Float[np.ndarray, " 2"]:
        """(row, column) some frames after the last detection, at constant velocity."""
        return self.last.position + frames_ahead * self.velocity()

    def velocity(self, over: int = 3) -> Float[np.ndarray, " 2"]:
        """(rows, columns) per frame, averaged over the last steps."""
        recent = self.detections[-over - 1 :]
        return (recent[-1].position - recent[0].position) / max(1, len(recent) - 1)


def track_blobs(frames: UInt8[np.ndarray, "t h w 3"]) -> list[Blob]:
    """Tracks of all coloured blobs, in order of their first frame; a blob that returns starts a new track.

    A blob is a patch of one hue that touches at most one side of the picture; sky and ground touch more.
    """
    reach = MAX_STEP * min(frames.shape[1:3])
    ended: list[Blob] = []
    tracked: list[Blob] = []
    for detections in detect_blobs(frames):
        pairs = sorted(
            (float(np.linalg.norm(blob.expected() - seen.position)), i, j)
            for i, blob in enumerate(tracked)
            for j, seen in enumerate(detections)
            if same_hue(blob.last, seen) and 0.2 < seen.area / blob.last.area < 5
        )
        old: set[int] = set()
        new: set[int] = set()
        for distance, i, j in pairs:
            if distance < reach and i not in old and j not in new:
                tracked[i].detections.append(detections[j])
                old.add(i)
                new.add(j)
        ended += [blob for i, blob in enumerate(tracked) if i not in old]
        tracked = [blob for i, blob in enumerate(tracked) if i in old]
        tracked += [Blob([seen]) for j, seen in enumerate(detections) if j not in new]
    return sorted(ended + tracked, key=lambda blob: blob.detections[0].frame)


def same_hue(one: Detection, other: Detection) -> bool:
    """True if two detections are close enough in hue to be of one blob."""
    return bool(hue_distance(one.hue, other.hue) < MAX_HUE_DISTANCE)


def detect_blobs(frames: UInt8[np.ndarray, "t h w 3"]) -> list[list[Detection]]:
    """Detections in each frame, in no order."""
    hues = coloured_hues(frames)
    labels = _patches(_nearest_main_hue(hues))
    least = MIN_AREA * labels[0].size
    return [
        [
            seen
            for seen in _detections(number, labels[number], hues[number], least)
            if not _is_backdrop(seen, labels.shape)
        ]
        for number in range(len(frames))
    ]


def coloured_hues(frames: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w"]:
    """The hue of each pixel in degrees, NaN where saturation or brightness is too low."""
    hue, saturation = hue_and_saturation(frames)
    return np.where((saturation > MIN_SATURATION) & (frames.max(axis=-1) > 255 * MIN_BRIGHTNESS), hue, np.nan)


def _nearest_main_hue(hues: Float[np.ndarray, "t h w"]) -> Int[np.ndarray, "t h w"]:
    """The index of each pixel's main hue, from 1 up; 0 for none.

    Main hues are the peaks of the clip's histogram of hues. They separate neighbours of different hue even across a
    soft edge.
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
    return np.where(
        distances.min(axis=0) < MAX_HUE_DISTANCE, distances.argmin(axis=0) + 1, 0
    )  # comparisons with NaN are false


def _detections(
    frame: int, labels: Int[np.ndarray, "h w"], hue: Float[np.ndarray, "h w"], least: float
) -> Sequence[Detection]:
    names, areas = np.unique(labels[labels > 0], return_counts=True)
    found = []
    for name in names[areas >= least]:
        rows, columns = np.nonzero(labels == name)
        angles = np.radians(hue[rows, columns])
        middle = np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())) % 360
        box = (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max()))
        found.append(Detection(frame, rows.mean() + 0.5, columns.mean() + 0.5, len(rows), float(middle), box))
    return found


def _is_backdrop(seen: Detection, shape: tuple[int, ...]) -> bool:
    """True if it touches two or more sides of the picture."""
    top, bottom, left, right = seen.box
    return (top == 0) + (bottom == shape[1] - 1) + (left == 0) + (right == shape[2] - 1) >= 2


def _patches(kinds: Int[np.ndarray, "t h w"]) -> Int[np.ndarray, "t h w"]:
    """Labels of connected patches of one kind in each frame, 0 outside."""
    labels = np.where(kinds > 0, np.arange(1, kinds[0].size + 1).reshape(kinds.shape[1:]), 0)
    sides = [(_part(axis, slice(None, -1)), _part(axis, slice(1, None))) for axis in (1, 2)]
    links = [(low, high, (kinds[low] == kinds[high]) & (kinds[low] > 0)) for low, high in sides]
    while True:
        before = labels.copy()
        for low, high, linked in links:
            most = np.where(linked, np.maximum(labels[low], labels[high]), 0)
            labels[low] = np.maximum(labels[low], most)
            labels[high] = np.maximum(labels[high], most)
        flat = labels.reshape(len(labels), -1)  # a label is also a pixel's index: that pixel's label is ahead
        ahead = np.take_along_axis(np.concatenate([np.zeros((len(flat), 1), flat.dtype), flat], axis=1), flat, axis=1)
        labels = np.maximum(labels, ahead.reshape(labels.shape))
        if np.array_equal(before, labels):
            return labels


def _part(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if k == axis else slice(None) for k in range(3))
