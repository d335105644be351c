"""What each ability puts on the timeline: which frames are given, where they stand, and what is left to be made.

The codec's latent frames hold four frames each, after a first one that stands alone. A given part that others precede
begins with a latent frame, and if nothing follows it, it is decoded by itself (`Ending`). Where a part that something
follows doesn't fill latent frames, its second frame is repeated in the stream (`dropped`, never shown), so that every
given frame comes back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vitascope.errors import SizeError
from vitascope.generate.footage import Media, fit_image, fit_video, fitted_shape, held, part_of
from vitascope.generate.rollout import MIN_WINDOW
from vitascope.generate.sizes import outside_training
from vitascope.generate.timeline import Ending, Lattice, Timeline
from vitascope.hub.card import PipelineConfig
from vitascope.model.canvas import reference_pin
from vitascope.model.text import check_prompt
from vitascope.types import Number
from vitascope.video import Video
from vitascope.video.shape import FrameShape, check_makeable

Piece = tuple[int, Float[Tensor, "c _t h w"]]  # a latent frame, and the latent that stands from there on

_log = logging.getLogger(__name__)

_MANY_FRAMES = 1e9  # more than any model makes: the check of sizes refuses it and says its limit


def generate(
    lattice: Lattice,
    config: PipelineConfig,
    prompt: str,
    *,
    image: Media | None = None,
    last_image: Media | None = None,
    references: Sequence[Media] = (),
    height: int | None = None,
    width: int | None = None,
    num_frames: int | None = None,
    seconds: Number | None = None,
    fps: Number | None = None,
) -> Timeline:
    """At most the first and the last picture are given, and the last stands still for as long as its latent frame."""
    prompt = check_prompt(prompt)
    if seconds is not None and num_frames is not None:
        raise SizeError("give seconds or num_frames, not both")
    shape = FrameShape(
        config.height if height is None else height,
        config.width if width is None else width,
        config.fps if fps is None else float(fps),
    )
    if num_frames is None:
        num_frames = config.num_frames if seconds is None else _num_frames(seconds, shape)
    check_shape(shape, num_frames, config)
    grid = lattice.shape(num_frames, shape.height, shape.width)
    pieces, ending = [], None
    if image is not None:
        pieces.append((0, lattice.encode(fit_image(image, shape.height, shape.width))))
    if last_image is not None:
        if num_frames < 2:
            raise SizeError("a video that ends with a given image has at least 2 frames")
        picture, start = fit_image(last_image, shape.height, shape.width), grid[0] - 1
        pieces.append((start, lattice.encode_after(held(picture, lattice.frames_per_cell))))
        ending = Ending(start, lattice.encode(picture))
    pins = tuple(
        reference_pin(
            lattice.encode(fit_image(reference, shape.height, shape.width)),
            number,
            fps=shape.fps,
            reference_fps=config.reference_fps,
            time_stride=lattice.frames_per_cell,
        )
        for number, reference in enumerate(references)
    )
    latent, given = lattice.lay(grid, pieces)
    size = (shape.height, shape.width, shape.fps)
    return Timeline((prompt,), latent, given, *size, num_frames, references=pins, ending=ending)


def extend(
    lattice: Lattice,
    config: PipelineConfig,
    video: Media,
    prompt: str,
    *,
    seconds: Number,
    backward: bool = False,
    height: int | None = None,
    width: int | None = None,
    fps: Number | None = None,
) -> Timeline:
    """A video and what follows it, or precedes it, for so many seconds."""
    shape = _shape(lattice, config, video, height, width, fps)
    known = fit_video(video, shape, instant=0.0 if backward else math.inf)
    step, num_made = lattice.frames_per_cell, _num_frames(seconds, shape)
    num_frames = known.num_frames + num_made
    check_shape(shape, num_frames, config)
    if backward:
        cells = 1 + math.ceil((num_made - 1) / step)
        piece, ending = _last(lattice, config, known, cells)
        dropped = range(lattice.first_frame(cells) - num_made)
    else:
        first, dropped = _ending_whole(known, step)
        piece, ending = (0, lattice.encode(first)), None
    return _timeline(lattice, prompt, shape, [piece], num_frames, dropped, ending)


def connect(
    lattice: Lattice,
    config: PipelineConfig,
    before: Media,
    after: Media,
    prompt: str,
    *,
    seconds: Number,
    height: int | None = None,
    width: int | None = None,
    fps: Number | None = None,
) -> Timeline:
    """One video, what leads from it to another for so many seconds, and the other. They take the first one's shape."""
    shape = _shape(lattice, config, before, height, width, fps)
    first, second = fit_video(before, shape, instant=math.inf), fit_video(after, shape)
    return _bridge(lattice, config, prompt, shape, first, second, seconds, shows_second=True)


def loop(
    lattice: Lattice,
    config: PipelineConfig,
    video: Media,
    prompt: str,
    *,
    seconds: Number,
    height: int | None = None,
    width: int | None = None,
    fps: Number | None = None,
) -> Timeline:
    """A video and, for so many seconds, what leads from its end to its beginning."""
    shape = _shape(lattice, config, video, height, width, fps)
    clip = fit_video(video, shape)
    return _bridge(lattice, config, prompt, shape, clip, clip, seconds, shows_second=False)


def fill(
    lattice: Lattice,
    config: PipelineConfig,
    video: Media,
    missing: Sequence[tuple[Number, Number]],
    prompt: str,
    *,
    height: int | None = None,
    width: int | None = None,
    fps: Number | None = None,
) -> Timeline:
    """A video of which the frames shown between pairs of seconds are made anew.

    The first hole begins where it is said to; each ends with a latent frame, and further ones begin with one.
    """
    shape = _shape(lattice, config, video, height, width, fps)
    instant = float(min((start for start, _ in missing), default=0.0))
    clip, (begin, _) = fit_video(video, shape, instant), part_of(video, instant)
    check_shape(shape, clip.num_frames, config)
    step, is_missing = lattice.frames_per_cell, _missing_frames(missing, clip, begin)
    first = int(is_missing.argmax())
    spare = (1 - (first or int((~is_missing).argmax()))) % step
    stream = _stretched(clip.frames, spare)
    wanted = np.concatenate([np.repeat(is_missing[:1], spare), is_missing])
    holes = _cells_with(wanted, step)
    if holes.all():
        raise SizeError(f"too little of the video is left to go by: latent frames hold {step} frames; use generate")
    num_anew = int(_frames_of(holes, step, len(wanted)).sum() - wanted.sum())
    if num_anew:
        _log.warning("%d frames beside what is missing are made anew: latent frames hold %d frames", num_anew, step)
    edges = [0, *(np.flatnonzero(np.diff(holes)) + 1).tolist(), len(holes)]
    pieces: list[Piece] = []
    ending = None
    for start, stop in pairwise(edges):
        if holes[start]:
            continue
        part = Video(stream[lattice.first_frame(start) : lattice.first_frame(stop)], shape.fps)
        if start == 0:
            pieces.append((0, lattice.encode(part)))
        elif stop < len(holes):
            pieces.append((start, lattice.encode_after(part)))
        else:
            piece, ending = _last(lattice, config, part, start)
            pieces.append(piece)
    dropped = range(1, 1 + spare) if first else range(spare)
    return _timeline(lattice, prompt, shape, pieces, clip.num_frames, dropped, ending)


def edit(
    lattice: Lattice,
    config: PipelineConfig,
    video: Media,
    prompt: str,
    *,
    strength: Number,
    mask: Media | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: Number | None = None,
) -> Timeline:
    """A video noised to a strength and made anew; with a mask, only where that is white."""
    if not 0 < strength <= 1:
        raise SizeError(f"a strength of {strength:g}: it goes from above 0, nothing changes, to 1, all is made anew")
    prompt = check_prompt(prompt)
    shape = _shape(lattice, config, video, height, width, fps)
    clip = fit_video(video, shape)
    check_shape(shape, clip.num_frames, config)
    latent = lattice.encode(clip)
    given = torch.zeros(latent.shape[1:], dtype=torch.bool)
    if mask is not None:
        given = ~_white_cells(fit_image(mask, shape.height, shape.width), lattice).expand(given.shape).clone()
        if given.all():
            raise SizeError("the mask is black everywhere, so there is nothing to make; what is to change is white")
    size = (shape.height, shape.width, shape.fps)
    return Timeline((prompt,), latent, given, *size, num_frames=clip.num_frames, strength=float(strength))


def _bridge(
    lattice: Lattice,
    config: PipelineConfig,
    prompt: str,
    shape: FrameShape,
    before: Video,
    after: Video,
    seconds: Number,
    *,
    shows_second: bool,
) -> Timeline:
    """Two videos with whole latent frames between them; the second is led to, whether it is shown or not."""
    step = lattice.frames_per_cell
    cells = max(1, round(_num_frames(seconds, shape) / step))
    if abs(cells * step - seconds * shape.fps) > 0.5:
        _log.warning(
            "%.3g seconds are made, not %g: latent frames hold %d frames", cells * step / shape.fps, seconds, step
        )
    num_frames = before.num_frames + cells * step + (after.num_frames if shows_second else 0)
    check_shape(shape, num_frames, config)
    first, dropped = _ending_whole(before, step)
    beginning = lattice.encode(first)
    start = beginning.shape[1] + cells
    shown = after if shows_second else Video(after.frames[:1], after.fps)
    piece, ending = (start, _seen(lattice, config, after)), Ending(start, lattice.encode(shown))
    return _timeline(lattice, prompt, shape, [(0, beginning), piece], num_frames, dropped, ending)


def _last(lattice: Lattice, config: PipelineConfig, video: Video, start: int) -> tuple[Piece, Ending]:
    """A video that is given last, from a latent frame on: as what is made before it sees it, and as it is shown."""
    return (start, _seen(lattice, config, video)), Ending(start, lattice.encode(video))


def _seen(lattice: Lattice, config: PipelineConfig, video: Video) -> Float[Tensor, "c _t h w"]:
    """A video as what is made before it sees it: no window sees more of it than a model makes at once."""
    cells, _, _ = lattice.shape(config.num_frames, 1, 1)
    return lattice.encode_after(Video(video.frames[: max(MIN_WINDOW, cells) * lattice.frames_per_cell], video.fps))


def _timeline(
    lattice: Lattice,
    prompt: str,
    shape: FrameShape,
    pieces: Sequence[Piece],
    num_frames: int,
    dropped: range,
    ending: Ending | None = None,
) -> Timeline:
    """It holds what is to be shown, and as much of what is given last as windows may see; a prompt may be empty."""
    prompt = check_prompt(prompt) if prompt.strip() else ""
    cells, rows, columns = lattice.shape(num_frames + len(dropped), shape.height, shape.width)
    last, piece = pieces[-1]
    cells = last + piece.shape[1] if ending is not None else max(cells, last + piece.shape[1])
    latent, given = lattice.lay((cells, rows, columns), pieces)
    size = (shape.height, shape.width, shape.fps)
    return Timeline((prompt,), latent, given, *size, num_frames, dropped, ending=ending)


def _shape(
    lattice: Lattice, config: PipelineConfig, video: Media, height: int | None, width: int | None, fps: Number | None
) -> FrameShape:
    multiple = lattice.codec.stride.rows * lattice.patch[1]
    trained = FrameShape(config.height, config.width, config.fps)
    return fitted_shape(video, trained, multiple, height, width, None if fps is None else float(fps))


def check_shape(shape: FrameShape, num_frames: int, config: PipelineConfig) -> None:
    """Refuse what can't be made, and tell of what the model wasn't trained on.

    Raises:
        SizeError: naming the value and the range.
    """
    check_makeable(shape.height, shape.width, num_frames, shape.fps)
    trained = (config.height, config.width, config.num_frames, config.fps)
    note = outside_training(shape.height, shape.width, num_frames, shape.fps, trained)
    if note is not None:
        _log.warning("%s", note)


def _num_frames(seconds: Number, shape: FrameShape) -> int:
    if not (math.isfinite(seconds) and seconds > 0):
        raise SizeError(f"{seconds:g} seconds: a positive number of them is made")
    return max(1, round(min(seconds * shape.fps, _MANY_FRAMES)))


def _ending_whole(video: Video, step: int) -> tuple[Video, range]:
    """(the video with its second frame repeated until it has 1 + 4k frames, which of them are not to be shown)."""
    spare = -(video.num_frames - 1) % step
    return Video(_stretched(video.frames, spare), video.fps), range(1, 1 + spare)


def _stretched(frames: UInt8[np.ndarray, "t h w 3"], spare: int) -> UInt8[np.ndarray, "t2 h w 3"]:
    """The second frame, not the first, is repeated: what moves between the two then falls between latent frames."""
    if spare == 0:
        return frames
    return np.concatenate([frames[:1], np.repeat(frames[1:2], spare, axis=0), frames[1:]])


def _missing_frames(missing: Sequence[tuple[Number, Number]], clip: Video, begin: float) -> Bool[np.ndarray, " t"]:
    """Which frames are missing from a clip that begins at a second of the whole."""
    times = begin + np.arange(clip.num_frames) / float(clip.fps)
    flags = np.zeros(clip.num_frames, dtype=bool)
    for start, stop in missing:
        inside = (times >= start - 1e-6) & (times < stop - 1e-6)
        if not inside.any():
            there = f"there are some from {begin:g} to {times[-1]:g} s"
            raise SizeError(f"missing {start:g}-{stop:g}: no frame is shown then; {there}")
        flags |= inside
    if flags.all():
        raise SizeError("all of the video is missing, so there is nothing to go by; use generate")
    if not flags.any():
        raise SizeError("say what is missing, as pairs of seconds")
    return flags


def _cells_with(frames: Bool[np.ndarray, " t"], step: int) -> Bool[np.ndarray, " k"]:
    """Which latent frames cover any of these frames."""
    rest = np.pad(frames[1:], (0, -(len(frames) - 1) % step))
    return np.concatenate([frames[:1], rest.reshape(-1, step).any(axis=1)])


def _frames_of(cells: Bool[np.ndarray, " k"], step: int, num_frames: int) -> Bool[np.ndarray, " t"]:
    """Which frames these latent frames cover."""
    return np.concatenate([cells[:1], np.repeat(cells[1:], step)])[:num_frames]


def _white_cells(mask: Video, lattice: Lattice) -> Bool[Tensor, "1 h w"]:
    """Latent cells any pixel of which is nearer to white than to black."""
    _, rows, columns = lattice.shape(1, mask.height, mask.width)
    stride = lattice.codec.stride
    white = torch.from_numpy(mask.frames[0].mean(axis=-1) >= 128)
    padded = torch.zeros(rows * stride.rows, columns * stride.columns, dtype=torch.bool)
    padded[: mask.height, : mask.width] = white
    cells = padded.unflatten(0, (rows, stride.rows)).unflatten(2, (columns, stride.columns))
    return cells.any(dim=3).any(dim=1)[None]
