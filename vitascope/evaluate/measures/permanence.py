"""Do things stay? What vanishes amid a picture, who changes across a cut, and what bounces higher and higher."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from vitascope.evaluate.measures.blobs import Sighting, Thing, coloured_hues, same_hue
from vitascope.evaluate.measures.tracking import MAX_HUE_DISTANCE, hue_distance

MIN_SIGHTINGS = 4  # of a thing whose end says something
GONE = 0.1  # of a thing's area
SUDDEN = 0.6  # of a thing's area was there just before it had gone: nothing slid over it
PATIENCE = 4  # frames within which a lost thing has gone, or was merely mistaken for another
WALL_LEVELS = 40.0  # of 255: what differs by more from an occluder isn't part of it
SLACK = 0.3  # of the time behind an occluder
MIN_FLIGHT = 3  # frames between bounces
MAX_AREA_STEP = 0.25  # of the logarithm of a flying thing's area, a frame: one that changes more is falling apart
MAX_MISFIT = 6.0  # a flight that is lower than so many times its distance from a parabola is no flight
MIN_REBOUND = 0.06  # of the picture's shorter side: lower ones are a tremble

Frames = UInt8[np.ndarray, "t h w 3"]


def vanishings(frames: Frames, things: list[Thing]) -> list[Sighting]:
    """The last sightings of things that were in the middle of the picture and then weren't anywhere.

    One that goes at once has vanished. One that goes bit by bit is behind something: it has vanished if it isn't seen
    again where and when its motion would bring it out.
    """
    hues = coloured_hues(frames)
    return [thing.last for thing in things if _vanishes(thing, things, frames, hues)]


def _vanishes(thing: Thing, things: list[Thing], frames: Frames, hues: Float[np.ndarray, "t h w"]) -> bool:
    if len(thing.sightings) < MIN_SIGHTINGS or thing.last.frame == len(frames) - 1:
        return False
    area = float(np.median([seen.area for seen in thing.sightings[-8:]]))
    whole = [seen for seen in thing.sightings if seen.area > 0.8 * area]
    before = Thing(whole)
    left = [area, *(seen.area for seen in thing.sightings)]
    for frame in range(thing.last.frame + 1, min(thing.last.frame + 1 + PATIENCE, len(frames))):
        place = before.expected(frame - before.last.frame)
        if _leaves(place, 0.5 * before.last.diameter, thing.last, hues.shape[1:]):
            return False
        left.append(_present(hues[frame], thing.last, place, before.last.diameter))
        if left[-1] < GONE * area:
            return left[-2] > SUDDEN * area or not _comes_out(before, thing.last, frame, things, frames)
    return False


def _leaves(place: Float[np.ndarray, " 2"], radius: float, last: Sighting, shape: tuple[int, ...]) -> bool:
    """Whether it was at the picture's border when last seen, or should be now."""
    top, bottom, left, right = last.box
    touched = top <= 0 or left <= 0 or bottom >= shape[0] - 1 or right >= shape[1] - 1
    return touched or bool(np.any(place < radius) or np.any(place > np.array(shape) - radius))


def _present(hues: Float[np.ndarray, "h w"], last: Sighting, place: Float[np.ndarray, " 2"], diameter: float) -> float:
    """How many pixels of its hue there are around where it was, and where it should be."""
    rows, columns = np.indices(hues.shape)
    low, high = np.minimum(last.place, place) - diameter, np.maximum(last.place, place) + diameter
    near = (rows > low[0]) & (rows < high[0]) & (columns > low[1]) & (columns < high[1])
    return float(np.sum(near & (hue_distance(hues, last.hue) < MAX_HUE_DISTANCE)))


def _comes_out(before: Thing, last: Sighting, gone: int, things: list[Thing], frames: Frames) -> bool:
    """Whether a thing that slid behind something is seen again, or wasn't due before the clip's end.

    The occluder is what has one colour along the thing's way from where it went out of sight.
    """
    velocity = before.velocity()
    speed = float(np.linalg.norm(velocity))
    diameter = before.last.diameter
    again = [t.sightings[0] for t in things if t.sightings[0].frame > last.frame and same_hue(t.sightings[0], last)]
    if speed < 0.02 * diameter:  # it stood there: something passes before it, or it fades
        return any(np.linalg.norm(seen.place - last.place) < diameter for seen in again)
    way = _way_behind(frames[gone].astype(float), last.place, velocity / speed, diameter)
    if way is None:
        return True
    place = last.place + (way + 0.5 * diameter) * velocity / speed
    due = before.last.frame + float(np.linalg.norm(place - before.last.place)) / speed
    latest = due + SLACK * (due - before.last.frame) + 2
    seen_in_time = (np.linalg.norm(s.place - place) < 2 * diameter for s in again if s.frame <= latest)
    return latest > len(frames) - 1 or any(seen_in_time)


def _way_behind(
    picture: Float[np.ndarray, "h w 3"], start: Float[np.ndarray, " 2"], along: Float[np.ndarray, " 2"], diameter: float
) -> float | None:
    """Pixels from `start` to the far edge of what hides the thing; None if that is beyond the picture."""
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


def changed_hue(before: list[Thing], after: list[Thing], height: int, width: int) -> float:
    """Degrees of hue between the main thing of one shot and the thing of the next that is most like it.

    NaN where a shot shows no coloured thing. A thing that is much smaller than its shot's main one doesn't count.
    """
    shots = [[thing for thing in shot if _is_whole(thing, height, width)] for shot in (before, after)]
    if not all(shots):
        return float("nan")
    main = max(shots[0], key=_weight)
    most = max(map(_weight, shots[1]))
    return min(float(hue_distance(_hue(main), _hue(other))) for other in shots[1] if _weight(other) > 0.25 * most)


def _is_whole(thing: Thing, height: int, width: int) -> bool:
    """Whether it is mostly seen away from the picture's border, as a backdrop's parts are not."""
    inside = [s.box[0] > 0 and s.box[2] > 0 and s.box[1] < height - 1 and s.box[3] < width - 1 for s in thing.sightings]
    return float(np.mean(inside)) > 0.5


def _weight(thing: Thing) -> int:
    return sum(seen.area for seen in thing.sightings)


def _hue(thing: Thing) -> float:
    angles = np.radians([seen.hue for seen in thing.sightings])
    return float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())) % 360)


def rebound_gain(things: list[Thing], height: int, width: int) -> float:
    """How much higher, in percent, a thing bounces than before, at most; NaN where nothing bounces.

    Forwards a bounce loses height, or keeps it where a jumper adds to it; backwards it gains. Heights are those of the
    parabolas through the places between two contacts, above the contact between them.
    """
    least = MIN_REBOUND * min(height, width)
    gains = [gain for thing in things for gain in _gains(thing, least)]
    return max(gains, default=float("nan"))


def _gains(thing: Thing, least: float) -> list[float]:
    heights = -np.array([seen.row for seen in thing.sightings])
    areas = np.array([seen.area for seen in thing.sightings])
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
    """Frames at which it turns from falling to rising, sharply."""
    steps = np.diff(heights)
    turns = (k for k in range(1, len(steps)) if steps[k - 1] <= 0 < steps[k])
    return [k for k in turns if steps[k] - steps[k - 1] > 0.3 * least]


def _apex(flight: Float[np.ndarray, " t"], pull: float) -> float:
    """The height of the parabola of this pull that fits best: at its top, or where it is highest of what was seen."""
    times, speed, middle = _parabola(flight, pull)
    top = float(np.clip(speed / pull, times[0], times[-1]))
    return middle + speed * top - 0.5 * pull * top**2


def _begins_below_its_top(flight: Float[np.ndarray, " t"], pull: float) -> bool:
    """Whether its top is in sight: a thing that is falling when the clip begins fell from nobody knows how high."""
    times, speed, _ = _parabola(flight, pull)
    return bool(speed / pull > times[0] - 1.0)


def _misfit(flight: Float[np.ndarray, " t"], pull: float) -> float:
    """How far a flight's places lie from its parabola: root of the mean square, in pixels."""
    times, speed, middle = _parabola(flight, pull)
    return float(np.sqrt(np.mean((middle + speed * times - 0.5 * pull * times**2 - flight) ** 2)))


def _parabola(flight: Float[np.ndarray, " t"], pull: float) -> tuple[Float[np.ndarray, " t"], float, float]:
    """Frames counted from the flight's middle, the speed there and the height there."""
    times = np.arange(len(flight)) - 0.5 * (len(flight) - 1)
    speed, middle = np.polyfit(times, flight + 0.5 * pull * times**2, 1)
    return times, float(speed), float(middle)
