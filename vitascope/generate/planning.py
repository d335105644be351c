"""Planning: from a request to a timeline, which contains the given parts at their positions and marks the rest.

A latent frame holds as many frames as the codec's time stride, except the first, which holds one. A given part with
something before it begins at a latent frame; with nothing after it, it is decoded on its own (`TailClip`). If a part
with something after it doesn't fill its latent frames, its second frame is repeated in the latent stream. The output
omits the repeated frames (`hidden_frames`), so every given frame comes back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vitascope.errors import SizeError
from vitascope.generate.footage import fit_image, fit_video, fitted_shape, freeze_frame, part_of, sound_of
from vitascope.generate.requests import Connect, Edit, Extend, Fill, Generate, Loop, Media, Request, Storyboard
from vitascope.generate.rollout import MIN_WINDOW
from vitascope.generate.sizes import check_shape, default_shape
from vitascope.generate.storyboard import plan_storyboard
from vitascope.generate.timeline import LatentGrid, TailClip, Timeline
from vitascope.hub.card import PipelineConfig
from vitascope.model.canvas import reference_pin
from vitascope.model.text import check_prompt
from vitascope.types import Number
from vitascope.video import Video
from vitascope.video.shape import FrameShape

Piece = tuple[int, Float[Tensor, "c _t h w"]]  # a latent frame, and the latent that begins there

_log = logging.getLogger(__name__)

_MANY_FRAMES = 1e9  # above every limit: the check of sizes refuses it with an error that names the limit


@runtime_checkable
class Planner(Protocol):
    """Interface of a model for planning; `Pipeline` implements it."""

    @property
    def grid(self) -> LatentGrid:
        """Relation of pixels to latent cells."""
        ...

    @property
    def config(self) -> PipelineConfig:
        """Defaults, and what the model was trained on."""
        ...


def plan(model: Planner, request: Request) -> Timeline:
    """The timeline of a request; given footage is read, fitted and encoded.

    Raises:
        PromptError: an empty or overlong prompt.
        SizeError: a size, length, rate, strength or mask that is out of range or leaves nothing to generate.
        MediaError: footage that can't be read.
    """
    return _PLANS[type(request)](model.grid, model.config, request)


def _generate(grid: LatentGrid, config: PipelineConfig, request: Generate) -> Timeline:
    """At most the first and the last picture are given; the last one fills its latent frame."""
    prompt = check_prompt(request.prompt)
    if request.seconds is not None and request.num_frames is not None:
        raise SizeError("give seconds or num_frames, not both")
    shape = default_shape(config, request)
    num_frames = request.num_frames
    if num_frames is None:
        num_frames = config.num_frames if request.seconds is None else _num_frames(request.seconds, shape)
    check_shape(shape, num_frames, config)
    cells = grid.shape(num_frames, shape.height, shape.width)
    pieces, tail = [], None
    if request.image is not None:
        pieces.append((0, grid.encode(fit_image(request.image, shape.height, shape.width))))
    if request.last_image is not None:
        if num_frames < 2:
            raise SizeError(f"{num_frames} frames: a video with a given last image needs at least 2")
        picture, start = fit_image(request.last_image, shape.height, shape.width), cells[0] - 1
        pieces.append((start, grid.encode_after(freeze_frame(picture, grid.frames_per_cell))))
        tail = TailClip(start, grid.encode(picture))
    pins = tuple(
        reference_pin(
            grid.encode(fit_image(reference, shape.height, shape.width)),
            number,
            fps=shape.fps,
            reference_fps=config.reference_fps,
            time_stride=grid.frames_per_cell,
        )
        for number, reference in enumerate(request.references)
    )
    latent, given = grid.lay(cells, pieces)
    return Timeline((prompt,), latent, given, *shape, num_frames, references=pins, tail=tail)


def _extend(grid: LatentGrid, config: PipelineConfig, request: Extend) -> Timeline:
    shape = _shape(grid, config, request.video, request)
    instant = 0.0 if request.backward else math.inf
    known = fit_video(request.video, shape, instant)
    step, num_made = grid.frames_per_cell, _num_frames(request.seconds, shape)
    num_frames = known.num_frames + num_made
    check_shape(shape, num_frames, config)
    if request.backward:
        cells = 1 + math.ceil((num_made - 1) / step)
        piece, tail = _last(grid, config, known, cells)
        hidden = range(grid.first_frame(cells) - num_made)
    else:
        first, hidden = _ending_whole(known, step)
        piece, tail = (0, grid.encode(first)), None
    sound = sound_of(request.video, known, instant, at=num_made / shape.fps if request.backward else 0.0)
    return replace(_timeline(grid, request.prompt, shape, [piece], num_frames, hidden, tail), sound=sound)


def _connect(grid: LatentGrid, config: PipelineConfig, request: Connect) -> Timeline:
    """Both videos take the first one's shape."""
    shape = _shape(grid, config, request.before, request)
    first, second = fit_video(request.before, shape, instant=math.inf), fit_video(request.after, shape)
    timeline = _bridge(grid, config, request.prompt, shape, first, second, request.seconds, shows_second=True)
    start_of_second = (timeline.num_frames - second.num_frames) / shape.fps
    sound = sound_of(request.before, first, math.inf) + sound_of(request.after, second, at=start_of_second)
    return replace(timeline, sound=sound)


def _loop(grid: LatentGrid, config: PipelineConfig, request: Loop) -> Timeline:
    shape = _shape(grid, config, request.video, request)
    clip = fit_video(request.video, shape)
    timeline = _bridge(grid, config, request.prompt, shape, clip, clip, request.seconds, shows_second=False)
    return replace(timeline, sound=sound_of(request.video, clip))


def _fill(grid: LatentGrid, config: PipelineConfig, request: Fill) -> Timeline:
    """The first hole begins at its time; each ends with a latent frame, and further ones begin with one."""
    video, missing = request.video, request.missing
    shape = _shape(grid, config, video, request)
    instant = float(min((start for start, _ in missing), default=0.0))
    clip, (begin, _) = fit_video(video, shape, instant), part_of(video, instant)
    check_shape(shape, clip.num_frames, config)
    step, is_missing = grid.frames_per_cell, _missing_frames(missing, clip, begin)
    first = int(is_missing.argmax())
    spare = (1 - (first or int((~is_missing).argmax()))) % step
    stream = _stretched(clip.frames, spare)
    wanted = np.concatenate([np.repeat(is_missing[:1], spare), is_missing])
    holes = _cells_with(wanted, step)
    if holes.all():
        raise SizeError(f"no latent frame ({step} frames) is left whole to condition the result; use generate")
    num_more = int(_frames_of(holes, step, len(wanted)).sum() - wanted.sum())
    if num_more:
        _log.warning("%d more frames than are missing are regenerated: latent frames hold %d frames", num_more, step)
    edges = [0, *(np.flatnonzero(np.diff(holes)) + 1).tolist(), len(holes)]
    pieces: list[Piece] = []
    tail = None
    for start, stop in pairwise(edges):
        if holes[start]:
            continue
        part = Video(stream[grid.first_frame(start) : grid.first_frame(stop)], shape.fps)
        if start == 0:
            pieces.append((0, grid.encode(part)))
        elif stop < len(holes):
            pieces.append((start, grid.encode_after(part)))
        else:
            piece, tail = _last(grid, config, part, start)
            pieces.append(piece)
    hidden = range(1, 1 + spare) if first else range(spare)
    timeline = _timeline(grid, request.prompt, shape, pieces, clip.num_frames, hidden, tail)
    return replace(timeline, sound=sound_of(video, clip, instant))


def _edit(grid: LatentGrid, config: PipelineConfig, request: Edit) -> Timeline:
    if not 0 < request.strength <= 1:
        raise SizeError(f"strength must be in (0, 1], got {request.strength:g} (1 regenerates everything)")
    prompt = check_prompt(request.prompt)
    shape = _shape(grid, config, request.video, request)
    clip = fit_video(request.video, shape)
    check_shape(shape, clip.num_frames, config)
    latent = grid.encode(clip)
    given = torch.zeros(latent.shape[1:], dtype=torch.bool)
    if request.mask is not None:
        given = ~_white_cells(fit_image(request.mask, shape.height, shape.width), grid).expand(given.shape).clone()
        if given.all():
            raise SizeError("the mask is black everywhere, so nothing would change; paint white what to regenerate")
    sound = sound_of(request.video, clip)
    return Timeline((prompt,), latent, given, *shape, clip.num_frames, strength=request.strength, sound=sound)


def _bridge(
    grid: LatentGrid,
    config: PipelineConfig,
    prompt: str,
    shape: FrameShape,
    before: Video,
    after: Video,
    seconds: Number,
    *,
    shows_second: bool,
) -> Timeline:
    """Two videos with whole latent frames between them; the second conditions the gap even if it isn't shown."""
    step = grid.frames_per_cell
    cells = max(1, round(_num_frames(seconds, shape) / step))
    if abs(cells * step - seconds * shape.fps) > 0.5:
        _log.warning(
            "generating %.3g s instead of %g s: latent frames hold %d frames",
            cells * step / shape.fps,
            seconds,
            step,
        )
    num_frames = before.num_frames + cells * step + (after.num_frames if shows_second else 0)
    check_shape(shape, num_frames, config)
    first, hidden = _ending_whole(before, step)
    beginning = grid.encode(first)
    start = beginning.shape[1] + cells
    shown = after if shows_second else Video(after.frames[:1], after.fps)
    piece, tail = (start, _condition(grid, config, after)), TailClip(start, grid.encode(shown))
    return _timeline(grid, prompt, shape, [(0, beginning), piece], num_frames, hidden, tail)


def _last(grid: LatentGrid, config: PipelineConfig, video: Video, start: int) -> tuple[Piece, TailClip]:
    """A video given last: as a condition for the frames before it, and as the clip that is shown."""
    return (start, _condition(grid, config, video)), TailClip(start, grid.encode(video))


def _condition(grid: LatentGrid, config: PipelineConfig, video: Video) -> Float[Tensor, "c _t h w"]:
    """The latent of a video that other frames precede, cut to the length of one window."""
    cells, _, _ = grid.shape(config.num_frames, 1, 1)
    return grid.encode_after(Video(video.frames[: max(MIN_WINDOW, cells) * grid.frames_per_cell], video.fps))


def _timeline(
    grid: LatentGrid,
    prompt: str,
    shape: FrameShape,
    pieces: Sequence[Piece],
    num_frames: int,
    hidden: range,
    tail: TailClip | None = None,
) -> Timeline:
    """The timeline of pieces. An empty prompt is allowed; a tail is included as far as windows can reach it."""
    prompt = check_prompt(prompt) if prompt.strip() else ""
    cells, rows, columns = grid.shape(num_frames + len(hidden), shape.height, shape.width)
    last, piece = pieces[-1]
    cells = last + piece.shape[1] if tail is not None else max(cells, last + piece.shape[1])
    latent, given = grid.lay((cells, rows, columns), pieces)
    size = (shape.height, shape.width, shape.fps)
    return Timeline((prompt,), latent, given, *size, num_frames, hidden, tail=tail)


def _shape(grid: LatentGrid, config: PipelineConfig, video: Media, request: Request) -> FrameShape:
    """The requested shape, or the video's own, brought close to the model's training shapes."""
    multiple = grid.codec.stride.rows * grid.patch[1]
    trained = FrameShape(config.height, config.width, config.fps)
    return fitted_shape(video, trained, multiple, request.height, request.width, request.fps)


def _num_frames(seconds: Number, shape: FrameShape) -> int:
    if not (math.isfinite(seconds) and seconds > 0):
        raise SizeError(f"seconds must be a positive number, got {seconds:g}")
    return max(1, round(min(seconds * shape.fps, _MANY_FRAMES)))


def _ending_whole(video: Video, step: int) -> tuple[Video, range]:
    """(the video with its second frame repeated until it fills latent frames, the repeated frames to hide)."""
    spare = -(video.num_frames - 1) % step
    return Video(_stretched(video.frames, spare), video.fps), range(1, 1 + spare)


def _stretched(frames: UInt8[np.ndarray, "t h w 3"], spare: int) -> UInt8[np.ndarray, "t2 h w 3"]:
    """Frames with the second one repeated: motion from the first to the second then falls between latent frames."""
    if spare == 0:
        return frames
    return np.concatenate([frames[:1], np.repeat(frames[1:2], spare, axis=0), frames[1:]])


def _missing_frames(missing: Sequence[tuple[Number, Number]], clip: Video, begin: float) -> Bool[np.ndarray, " t"]:
    """Flags of the missing frames of a clip that begins at second `begin` of the whole video."""
    times = begin + np.arange(clip.num_frames) / float(clip.fps)
    flags = np.zeros(clip.num_frames, dtype=bool)
    for start, stop in missing:
        inside = (times >= start - 1e-6) & (times < stop - 1e-6)
        if not inside.any():
            raise SizeError(
                f"missing {start:g}-{stop:g} holds no frame; the frames run from {begin:g} to {times[-1]:g} s"
            )
        flags |= inside
    if flags.all():
        raise SizeError("all of the video is missing, so nothing conditions the result; use generate")
    if not flags.any():
        raise SizeError("missing is empty; give pairs of seconds, such as (0.5, 1.5)")
    return flags


def _cells_with(frames: Bool[np.ndarray, " t"], step: int) -> Bool[np.ndarray, " k"]:
    """Flags of the latent frames that cover any flagged frame."""
    rest = np.pad(frames[1:], (0, -(len(frames) - 1) % step))
    return np.concatenate([frames[:1], rest.reshape(-1, step).any(axis=1)])


def _frames_of(cells: Bool[np.ndarray, " k"], step: int, num_frames: int) -> Bool[np.ndarray, " t"]:
    """Flags of the frames that flagged latent frames cover."""
    return np.concatenate([cells[:1], np.repeat(cells[1:], step)])[:num_frames]


def _white_cells(mask: Video, grid: LatentGrid) -> Bool[Tensor, "1 h w"]:
    """Flags of the latent cells with at least one pixel nearer to white than to black."""
    _, rows, columns = grid.shape(1, mask.height, mask.width)
    stride = grid.codec.stride
    white = torch.from_numpy(mask.frames[0].mean(axis=-1) >= 128)
    padded = torch.zeros(rows * stride.rows, columns * stride.columns, dtype=torch.bool)
    padded[: mask.height, : mask.width] = white
    cells = padded.unflatten(0, (rows, stride.rows)).unflatten(2, (columns, stride.columns))
    return cells.any(dim=3).any(dim=1)[None]


_PLANS: dict[type[Request], Callable[[LatentGrid, PipelineConfig, Any], Timeline]] = {
    Generate: _generate,
    Extend: _extend,
    Fill: _fill,
    Connect: _connect,
    Loop: _loop,
    Edit: _edit,
    Storyboard: plan_storyboard,
}
