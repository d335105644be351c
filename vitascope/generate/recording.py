"""Recording: a request's frames written to a file while they are generated, and the request read back from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitascope.errors import ConfigError, MediaError, Terminated
from vitascope.files import parse_json
from vitascope.generate.footage import is_image
from vitascope.generate.requests import Edit, Generate, Request, parse_request
from vitascope.video import GrowingVideo, Video, VideoWriter, read_comment
from vitascope.video.formats import STILL

if TYPE_CHECKING:
    from vitascope.generate.pipeline import Pipeline
    from vitascope.generate.timeline import Timeline

NUM_SAMPLED = 8  # frames sampled for a contact sheet

_log = logging.getLogger(__name__)


def record(
    pipeline: Pipeline,
    request: Request,
    path: Path,
    *,
    timeline: Timeline | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Video:
    """Generate a request into a file, and return up to NUM_SAMPLED of its frames.

    The suffix of `path` gives the format. A video's comment holds the request, with paths relative to the video; images
    hold none. The sound of given footage is copied to formats that hold sound. During generation, the frames so far are
    playable at `partial_path(path)`, which remains if the process is killed. An interrupt writes the frames so far to
    `path`, unless they are only the given ones. `timeline` is the request's plan, if it exists already.

    Raises:
        PromptError, SizeError, MediaError: as `planning.plan` and `Pipeline.stream`; also a file that can't be written.
    """
    timeline = pipeline.plan(request) if timeline is None else timeline
    is_still = path.suffix.lower() in STILL
    if is_still and timeline.num_frames > 1:
        raise MediaError(f"{path} is an image and the request has {timeline.num_frames} frames; name a video")
    frames = pipeline.stream(timeline, request.sampling, on_progress)
    if is_still:
        for part in timeline.sound:
            _log.warning("%s is an image; the sound of %s is left out", path, part.path)
        picture = Video(np.concatenate(list(frames)), timeline.fps)
        picture.save(path)
        return picture
    comment = request.with_paths(lambda media: _relative(media, path.parent)).to_json()
    return _write(frames, timeline, path, comment, pipeline.grid.num_given_first(timeline))


def makes_image(request: Request) -> bool:
    """True if a request's result is one frame: it asks for one, or edits footage of one."""
    if isinstance(request, Generate):
        return request.num_frames == 1
    if not isinstance(request, Edit):
        return False
    try:
        return is_image(request.video)
    except MediaError:  # planning reports it
        return isinstance(request.video, Path) and request.video.suffix.lower() in STILL


def read_request(path: str | Path) -> Request:
    """The request in the comment of a video that `record` wrote; relative paths in it start from the video's folder.

    Raises:
        MediaError: the file can't be read.
        ConfigError: it holds no request.
    """
    comment = read_comment(path)
    try:
        tree = parse_json(comment)
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no request; give a video that Vitascope wrote, or a request's JSON file")
    return parse_request(tree, source=str(path)).with_paths(lambda media: Path(path).parent / media)


def _relative(media: Path, folder: Path) -> Path:
    """A path from a folder, so that shared videos don't state where they were made; the name alone across drives."""
    try:
        return Path(os.path.relpath(media, folder))
    except ValueError:
        return Path(media.name)


def _write(frames: Iterable[np.ndarray], timeline: Timeline, path: Path, comment: str, num_given: int) -> Video:
    num_sampled = min(NUM_SAMPLED, timeline.num_frames)
    wanted = set(np.linspace(0, timeline.num_frames - 1, num_sampled).round().astype(int).tolist())
    sampled: list[np.ndarray] = []
    interruption: BaseException | None = None
    form = (path, timeline.fps, timeline.height, timeline.width)
    with GrowingVideo(*form) as growing, VideoWriter(*form, comment=comment, sound=timeline.sound) as writer:
        stored = writer.stored_size
        if stored != (timeline.height, timeline.width):
            size = f"{timeline.width}x{timeline.height}"
            _log.warning("%s: stored as %dx%d, not %s: H.264 needs even sides", path, stored[1], stored[0], size)
        try:
            for chunk in frames:
                growing.write(chunk)
                sampled += [frame for index, frame in enumerate(chunk, start=writer.num_frames) if index in wanted]
                writer.write(chunk)
        except (KeyboardInterrupt, Terminated) as stop:
            if writer.num_frames <= num_given:
                raise
            interruption = stop
    if interruption is not None:
        _log.warning("%s: wrote the first %.1f seconds", path, writer.num_frames / timeline.fps)
        raise interruption
    return Video(np.stack(sampled), timeline.fps)
