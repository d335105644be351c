"""Object permanence: blobs that vanish, change hue across a cut, or bounce higher and higher."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.evaluate.measures.blobs import Blob, Detection, coloured_hues, same_hue
from vitascope.evaluate.measures.tracking import MAX_HUE_DISTANCE, hue_distance

MIN_DETECTIONS = 4  # minimum for a blob whose end is examined
GONE = 0.1  # a blob is gone below this share of its area
SUDDEN = 0.6  # a blob with more of its area left just before it is gone was not occluded
PATIENCE = 4  # frames within which a lost blob must be gone; otherwise tracking failed
WALL_LEVELS = 40.0  # levels of 255; pixels that differ by more are not part of the occluder
SLACK = 0.3  # share of the time behind an occluder that is added to the due time
MIN_FLIGHT = 3  # frames between bounces
MAX_AREA_STEP = 0.25  # change per frame of the log of a flying blob's area; a larger one means that it breaks up
MAX_MISFIT = 6.0  # least height of a flight, in units of its RMS distance from a parabola
MIN_REBOUND = 0.06  # least height as a share of the picture's shorter side; lower rebounds are jitter

Frames = UInt8[np.ndarray, "t h w 3"]


def find_vanished(frames: Frames, blobs: list[Blob]) -> list[Detection]:
    """The last detections of blobs that disappear inside the picture.

    A blob that disappears at once has vanished. A blob that shrinks first is occluded. It has vanished if it
    does not reappear at the place and time that its motion predicts.
    """
    hues = coloured_hues(frames)
    return [blob.last for blob in blobs if _vanishes(blob, blobs, frames, hues)]


def _vanishes(blob: Blob, blobs: list[Blob], frames: Frames, hues: Float[np.ndarray, "t h w"]) -> bool:
    if len(blob.detections) < MIN_DETECTIONS or blob.last.frame == len(frames) - 1:
        return False
    area = float(np.median([seen.area for seen in blob.detections[-8:]]))
    whole = [seen for seen in blob.detections if seen.area > 0.8 * area]
    before = Blob(whole)
    left = [area, *(seen.area for seen in blob.detections)]
    for frame in range(blob.last.frame + 1, min(blob.last.frame + 1 + PATIENCE, len(frames))):
        position = before.expected(frame - before.last.frame)
        if _leaves(position, 0.5 * before.last.diameter, blob.last, hues.shape[1:]):
            return False
        left.append(_num_pixels_near(hues[frame], blob.last, position, before.last.diameter))
        if left[-1] < GONE * area:
            return left[-2] > SUDDEN * area or not _reappears(before, blob.last, frame, blobs, frames)
    return False


def _leaves(position: Float[np.ndarray, " 2"], radius: float, last: Detection, shape: tuple[int, ...]) -> bool:
    """True if the blob was at the picture's border when last detected, or is expected there."""
    top, bottom, left, right = last.box
    touched = top <= 0 or left <= 0 or bottom >= shape[0] - 1 or right >= shape[1] - 1
    return touched or bool(np.any(position < radius) or np.any(position > np.array(shape) - radius))


def _num_pixels_near(
    hues: Float[np.ndarray, "h w"], last: Detection, position: Float[np.ndarray, " 2"], diameter: float
) -> float:
    """The number of pixels of the blob's hue around its last and its expected position."""
    rows, columns = np.indices(hues.shape)
    low = np.minimum(last.position, position) - diameter
    high = np.maximum(last.position, position) + diameter
    near = (rows > low[0]) & (rows < high[0]) & (columns > low[1]) & (columns < high[1])
    return float(np.sum(near & (hue_distance(hues, last.hue) < MAX_HUE_DISTANCE)))


def _reappears(before: Blob, last: Detection, gone: int, blobs: list[Blob], frames: Frames) -> bool:
    """True if an occluded blob is detected again, or is not due before the clip's end.

    The occluder is the stretch of one colour along the blob's path from where it disappeared.
    """
    velocity = before.velocity()
    speed = float(np.linalg.norm(velocity))
    diameter = before.last.diameter
    starts = (blob.detections[0] for blob in blobs)
    again = [seen for seen in starts if seen.frame > last.frame and same_hue(seen, last)]
    if speed < 0.02 * diameter:  # at rest: something passes in front of it, or it fades
        return any(np.linalg.norm(seen.position - last.position) < diameter for seen in again)
    way = _occluded_length(frames[gone].astype(float), last.position, velocity / speed, diameter)
    if way is None:
        return True
    position = last.position + (way + 0.5 * diameter) * velocity / speed
    due = before.last.frame + float(np.linalg.norm(position - before.last.position)) / speed
    latest = due + SLACK * (due - before.last.frame) + 2
    seen_in_time = (np.linalg.norm(s.position - position) < 2 * diameter for s in again if s.frame <= latest)
    return latest > len(frames) - 1 or any(seen_in_time)


def _occluded_length(
    picture: Float[np.ndarray, "h w 3"], start: Float[np.ndarray, " 2"], along: Float[np.ndarray, " 2"], diameter: float
) -> float | None:
    """Pixels from `start` to the far edge of the occluder; None if that is outside the picture."""
    near = round(0.5 * diameter) + 1
    reach = int(np.hypot(*picture.shape[:2]))
    colours = []
    for step in range(near, reach):
        row, column = (int(v) for v in start + step * along)
        if not (0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]):
            return None
        colours.append(picture[row, column])
        if np.abs(colours[-1] - colours[0]).max() > WALL_LEVELS:
            return float(step)
    return None


def hue_change(before: list[Blob], after: list[Blob], height: int, width: int) -> float:
    """Degrees of hue between the main blob of one shot and the most similar blob of the next.

    NaN if a shot has no blob. Blobs much smaller than the main one of their shot do not count.
    """
    shots = [[blob for blob in shot if _is_whole(blob, height, width)] for shot in (before, after)]
    if not all(shots):
        return float("nan")
    main = max(shots[0], key=_weight)
    most = max(map(_weight, shots[1]))
    return min(float(hue_distance(_hue(main), _hue(other))) for other in shots[1] if _weight(other) > 0.25 * most)


def _is_whole(blob: Blob, height: int, width: int) -> bool:
    """True if it is mostly away from the picture's border, unlike parts of a backdrop."""
    inside = [s.box[0] > 0 and s.box[2] > 0 and s.box[1] < height - 1 and s.box[3] < width - 1 for s in blob.detections]
    return float(np.mean(inside)) > 0.5


def _weight(blob: Blob) -> int:
    return sum(seen.area for seen in blob.detections)


def _hue(blob: Blob) -> float:
    angles = np.radians([seen.hue for seen in blob.detections])
    return float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())) % 360)


def rebound_gain(blobs: list[Blob], height: int, width: int) -> float:
    """The largest gain in height from one bounce to the next, in percent; NaN if nothing bounces.

    Played forwards, a bounce loses height, or keeps it if a jumper adds energy; played backwards, it gains. Heights are
    those of the parabolas fitted between contacts, above the contact.
    """
    least = MIN_REBOUND * min(height, width)
    gains = [gain for blob in blobs for gain in _gains(blob, least)]
    return max(gains, default=float("nan"))


def _gains(blob: Blob, least: float) -> list[float]:
    heights = -np.array([seen.row for seen in blob.detections])
    areas = np.array([seen.area for seen in blob.detections])
    contacts = _contacts(heights, least)
    ends = [-1, *contacts, len(heights)]
    flights = [heights[a + 1 : b] for a, b in pairwise(ends)]
    long = [flight for flight in flights if len(flight) >= MIN_FLIGHT]
    pull = -float(np.median(np.concatenate([np.diff(flight, n=2) for flight in long]))) if long else 0.0
    gains = []
    for number, contact in enumerate(contacts):
        before, after = flights[number], flights[number + 1]
        if min(len(before), len(after)) < MIN_FLIGHT or pull <= 0 or not _begins_below_its_top(before, pull):
            continue
        if np.abs(np.diff(np.log(areas[ends[number] + 1 : ends[number + 2]]))).max() > MAX_AREA_STEP:
            continue
        fell, rose = (_apex(flight, pull) - heights[contact] for flight in (before, after))
        if max(fell, rose) >= max(least, MAX_MISFIT * max(_misfit(flight, pull) for flight in (before, after))):
            gains.append(100 * float(rose - fell) / max(min(rose, fell), 0.25 * least))
    return gains


def _contacts(heights: Float[np.ndarray, " t"], least: float) -> list[int]:
    """Frames of a sharp turn from falling to rising."""
    steps = np.diff(heights)
    turns = (k for k in range(1, len(steps)) if steps[k - 1] <= 0 < steps[k])
    return [k for k in turns if steps[k] - steps[k - 1] > 0.3 * least]


def _apex(flight: Float[np.ndarray, " t"], pull: float) -> float:
    """The greatest height of the best parabola of this pull within the flight."""
    times, speed, middle = _parabola(flight, pull)
    top = float(np.clip(speed / pull, times[0], times[-1]))
    return middle + speed * top - 0.5 * pull * top**2


def _begins_below_its_top(flight: Float[np.ndarray, " t"], pull: float) -> bool:
    """True if the flight includes its top; a blob that falls from the first frame on has an unknown height."""
    times, speed, _ = _parabola(flight, pull)
    return bool(speed / pull > times[0] - 1.0)


def _misfit(flight: Float[np.ndarray, " t"], pull: float) -> float:
    """Root mean square distance of a flight from its parabola, in pixels."""
    times, speed, middle = _parabola(flight, pull)
    return float(np.sqrt(np.mean((middle + speed * times - 0.5 * pull * times**2 - flight) ** 2)))


def _parabola(flight: Float[np.ndarray, " t"], pull: float) -> tuple[Float[np.ndarray, " t"], float, float]:
    """Frame offsets from the flight's middle, and the speed and height there."""
    times = np.arange(len(flight)) - 0.5 * (len(flight) - 1)
    speed, middle = np.polyfit(times, flight + 0.5 * pull * times**2, 1)
    return times, float(speed), float(middle)
