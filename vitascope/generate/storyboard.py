"""Planning of storyboards: several shots on one timeline, each with a text of its own.

Every shot's tokens attend to the whole video and to the storyboard's text joined with their own. After a cut, positions
skip in time; a shot without a cut continues the picture before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

from vitascope.errors import SizeError
from vitascope.generate.footage import fit_image, freeze_frame
from vitascope.generate.requests import Storyboard
from vitascope.generate.sizes import check_shape, default_shape
from vitascope.generate.timeline import LatentGrid, Timeline
from vitascope.hub.card import PipelineConfig
from vitascope.model.canvas import Shot
from vitascope.model.text import check_prompt, shot_prompt

_log = logging.getLogger(__name__)


def plan_storyboard(grid: LatentGrid, config: PipelineConfig, storyboard: Storyboard) -> Timeline:
    """The timeline of a storyboard. A shot begins with the latent frame nearest to its time; a warning states it.

    Raises:
        PromptError: a text with control characters, or with too many characters.
        SizeError: a size, duration or rate out of range, or a shot shorter than a latent frame.
        MediaError: an image that can't be read.
    """
    prompts = tuple(check_prompt(shot_prompt(storyboard.text, shot.text)) for shot in storyboard.shots)
    shape = default_shape(config, storyboard)
    num_frames = max(1, round(sum(shot.seconds for shot in storyboard.shots) * shape.fps))
    check_shape(shape, num_frames, config)
    step = grid.frames_per_cell
    cells = grid.shape(num_frames, shape.height, shape.width)
    starts = _starts([shot.seconds for shot in storyboard.shots], shape.fps, step, num_cells=cells[0])
    pieces = []
    for start, shot in zip(starts, storyboard.shots, strict=True):
        if shot.image is not None:
            picture = fit_image(shot.image, shape.height, shape.width)
            latent = grid.encode_after(freeze_frame(picture, step)) if start else grid.encode(picture)
            pieces.append((start, latent))
    latent, given = grid.lay(cells, pieces)
    shots = tuple(
        Shot(start, is_cut=shot.cut and start > 0) for start, shot in zip(starts, storyboard.shots, strict=True)
    )
    if len(shots) > 1:
        _log.warning("%s", _note(shots, shape.fps, step))
    return Timeline(prompts, latent, given, *shape, num_frames, shots=shots)


def _starts(seconds: Sequence[float], fps: float, step: int, num_cells: int) -> list[int]:
    """The latent frame with which each shot begins: the one whose first frame is nearest to the shot's time."""
    times = [0.0, *accumulate(seconds[:-1])]
    starts = [0, *(max(1, 1 + math.floor((time * fps - 1) / step + 0.5)) for time in times[1:])]
    for number, (start, stop) in enumerate(pairwise([*starts, num_cells]), start=1):
        if stop <= start:
            raise SizeError(
                f"shot {number} of {seconds[number - 1]:g} seconds is too short: latent frames hold {step} frames, "
                f"so a shot has at least {step / fps:g} seconds"
            )
    return starts


def _note(shots: Sequence[Shot], fps: float, step: int) -> str:
    """A warning with the second at which each shot begins."""
    moments = []
    for number, shot in enumerate(shots[1:], start=2):
        seconds = ((shot.start - 1) * step + 1) / fps
        moments.append(f"shot {number} begins at {seconds:.2f} s, {'after a cut' if shot.is_cut else 'without a cut'}")
    return f"{'; '.join(moments)} (latent frames hold {step} frames)"
