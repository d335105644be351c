"""The canvas: a grid of tokens to be made, what of it is given, and pins placed anywhere around it.

Every ability is one way of filling a canvas: nothing given is text to video, a given first frame is animation, given
last frames are extension, a pin with a position of its own is a reference or a frame to pass through. The trainer
noises canvases (`noised`), the sampler fills them; neither knows which ability it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitascope.errors import SizeError
from vitascope.model.patches import (
    Patch,
    Sample,
    TextRun,
    TokenGroup,
    join_counts,
    make_sample,
    token_group,
    unpatchify,
)
from vitascope.types import Number

OfShot = TypeVar("OfShot")
REFERENCE_TIME = -64  # latent frames: before anything that a window shows
CUT_TIME = 16  # latent frames that positions skip at a cut: docs/decisions/0011-storyboards.md


class Shot(NamedTuple):
    """Latent frames with a text of their own, from `start` up to the next shot; after a cut the picture is another."""

    start: int = 0
    is_cut: bool = False


@dataclass(frozen=True)
class Pin:
    """A given clip or image, encoded on its own, and where it belongs.

    `frame_offset` is the pixel frame of the video at which the pin begins; it need not lie inside the grid.
    """

    latent: Float[Tensor, "c t h w"]
    frame_offset: Number


@dataclass(frozen=True)
class Canvas:
    """Tokens of the grid, then of the pins. `clean` holds the data where it is known and anything elsewhere."""

    clean: Float[Tensor, "n p"]
    positions: Float[Tensor, "n 3"]
    frame: Int[Tensor, " n"]  # latent frames counted through the grid and then the pins
    given: Bool[Tensor, " n"]
    grid: tuple[int, int, int]  # frames, rows, columns of the first tokens, counted in patches
    tokens_per_shot: tuple[int, ...]  # each shot has a text; the pins attend to the first one's
    history: Bool[Tensor, " n"]  # of the given tokens those that a model has made

    @property
    def num_frames(self) -> int:
        """Latent frames of grid and pins together."""
        return int(self.frame.max()) + 1

    @property
    def num_grid_tokens(self) -> int:
        """How many of the tokens are the grid's; the pins' follow."""
        frames, rows, columns = self.grid
        return frames * rows * columns

    def noised(
        self,
        tokens: Float[Tensor, "n p"],
        frame_sigmas: Float[Tensor, " f"],
        contexts: Sequence[Float[Tensor, "_l e"]],
        given_sigma: Number = 0.0,
        counts: Sequence[Int[Tensor, " _l"] | None] | None = None,
        history_sigma: Number = 0.0,
    ) -> Sample:
        """The transformer's view: `tokens` with a noise level per latent frame, given tokens at levels of their own.

        Those that a model has made are at `history_sigma`, the others at `given_sigma`.

        `contexts` are the states of each shot's text, `counts` how many equal ones each of them stands for.
        """
        level = torch.where(self.given, len(frame_sigmas), self.frame)
        level = torch.where(self.history, len(frame_sigmas) + 1, level)
        group = TokenGroup(tokens, self.positions, level)
        sigmas = torch.cat([frame_sigmas, frame_sigmas.new_tensor([float(given_sigma), float(history_sigma)])])
        texts = self.in_token_order(contexts)
        runs = [TextRun(num_tokens, len(text)) for num_tokens, text in zip(self._runs, texts, strict=True)]
        joined = None
        if counts is not None:
            joined = join_counts([len(text) for text in texts], self.in_token_order(counts))
        return make_sample([group], sigmas, torch.cat(texts), runs, joined)

    def in_token_order(self, of_shots: Sequence[OfShot]) -> list[OfShot]:
        """What the shots' texts have, in the order in which tokens need it: the first one's again for the pins."""
        return [*of_shots, *(of_shots[:1] if len(self._runs) > len(of_shots) else [])]

    @property
    def _runs(self) -> list[int]:
        """Tokens of each shot and then of the pins, which go with the shot if there is but one."""
        num_pinned = len(self.clean) - self.num_grid_tokens
        if len(self.tokens_per_shot) == 1:
            return [self.tokens_per_shot[0] + num_pinned]
        return [*self.tokens_per_shot, *([num_pinned] if num_pinned else [])]

    def nearness(self, ramp: int) -> Float[Tensor, "n 1"]:
        """How near each token is to a frame that is given whole: 1 in the next one, 0 from `ramp` frames further on.

        Frames are the grid's, whatever their rate, and a cut is as far as its positions skip, so nothing is near across
        it. With a ramp of 0 nothing is near.
        """
        frames, rows, columns = self.grid
        whole = self.given[: self.num_grid_tokens].view(frames, rows * columns).all(dim=1)
        if ramp == 0 or not whole.any():
            return torch.zeros_like(self.positions[:, :1])
        times = self.positions[: self.num_grid_tokens : rows * columns, 0]
        step = times.diff().min()  # the one between shots is longer; something given and something made are two frames
        away = (self.positions[:, :1] - times[whole]).abs().min(dim=1, keepdim=True).values / step
        return (1 - (away - 1) / ramp).clamp(0, 1)

    def grid_latent(self, tokens: Float[Tensor, "n p"], patch: Patch) -> Float[Tensor, "c t h w"]:
        """The latent of the grid's tokens."""
        return unpatchify(tokens[: self.num_grid_tokens], self.grid, patch)


def make_canvas(
    latent: Float[Tensor, "c t h w"],
    given: Bool[Tensor, "t h w"],
    pins: Sequence[Pin] = (),
    *,
    fps: Number,
    reference_fps: Number,
    patch: Patch,
    time_stride: int,
    shots: Sequence[Shot] = (Shot(),),
    history: Bool[Tensor, "t h w"] | None = None,
) -> Canvas:
    """A canvas over a latent: cells where `given` is true are kept, the others are made.

    `history` tells which of them a model has made; by default none.

    A token is given only if all its cells are. Frame rates are in frames per second, `time_stride` in pixel frames per
    latent frame. `shots` begin with one at 0 and are in order. At a cut, time skips.

    Raises:
        SizeError: a side of the latent is not divisible by the patch, or everything is given.
    """
    place = {"fps": fps, "reference_fps": reference_fps, "patch": patch, "time_stride": time_stride}
    groups = [token_group(latent, **place)]
    for pin in pins:
        first = int(groups[-1].sigma_group.max()) + 1
        groups.append(token_group(pin.latent, frame_offset=pin.frame_offset, first_sigma=first, **place))
    grid = tuple(side // step for side, step in zip(latent.shape[1:], patch, strict=True))
    grid_given = token_group(given.float()[None], **place).tokens.min(dim=1).values > 0
    made_before = torch.zeros_like(grid_given)
    if history is not None:
        made_before = grid_given & (token_group(history.float()[None], **place).tokens.max(dim=1).values > 0)
    of_pins = torch.ones(sum(len(group.tokens) for group in groups[1:]), dtype=torch.bool, device=grid_given.device)
    all_given = torch.cat([grid_given, of_pins])
    if grid_given.all():
        raise SizeError("every frame is given, so there is nothing to make; ask for more frames")
    positions = torch.cat([group.positions for group in groups])
    starts = [grid[1] * grid[2] * (shot.start // patch[0]) for shot in shots]  # tokens
    for start in (start for start, shot in zip(starts, shots, strict=True) if shot.is_cut):
        positions[start : len(grid_given), 0] += CUT_TIME
    return Canvas(
        clean=torch.cat([group.tokens for group in groups]),
        positions=positions,
        frame=torch.cat([group.sigma_group for group in groups]),
        given=all_given,
        grid=(grid[0], grid[1], grid[2]),
        tokens_per_shot=tuple(stop - start for start, stop in pairwise([*starts, len(grid_given)])),
        history=torch.cat([made_before, ~of_pins]),
    )


def given_frames(latent: Float[Tensor, "c t h w"], frames: Sequence[int]) -> Bool[Tensor, "t h w"]:
    """A mask over a latent's cells that is true in the listed latent frames."""
    mask = torch.zeros(latent.shape[1:], dtype=torch.bool)
    mask[list(frames)] = True
    return mask


def reference_pin(
    latent: Float[Tensor, "c t h w"], number: int, *, fps: Number, reference_fps: Number, time_stride: int
) -> Pin:
    """A picture outside time, of a character or a style: at the same distance before the video at every frame rate."""
    return Pin(latent, (REFERENCE_TIME - number) * time_stride * fps / reference_fps)
