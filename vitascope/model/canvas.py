"""The canvas: a grid of tokens to generate, a mask of those that are given, and pins with positions of their own.

Mask and pins define the verb. An empty mask is text to video, a given first frame animation, the given end of a video
extension. A pin is a reference image or a frame outside the grid. The trainer adds noise to canvases (`noised`) and the
sampler fills them; both are independent of the verb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
REFERENCE_TIME = -64  # in latent frames at the reference rate, earlier than every frame of a window
CUT_GAP = 16  # latent frames that positions skip at a cut (docs/decisions/0011-storyboards.md)


class Shot(NamedTuple):
    """Latent frames with a text of their own, from `start` up to the next shot."""

    start: int = 0
    is_cut: bool = False  # True if the picture changes at `start`


@dataclass(frozen=True)
class Pin:
    """A given clip or image, encoded on its own.

    `frame_offset` is the pixel frame of the video at which the pin begins; it may be outside the grid.
    """

    latent: Float[Tensor, "c t h w"]
    frame_offset: Number


@dataclass(frozen=True)
class Canvas:
    """Tokens of the grid, then of the pins. Only `clean` is on the model's device; masks and positions stay on the CPU.

    `clean` has the data of given tokens and arbitrary values elsewhere.
    """

    clean: Float[Tensor, "n p"]
    positions: Float[Tensor, "n 3"]
    frame: Int[Tensor, " n"]  # latent frames, numbered through the grid and then the pins
    given: Bool[Tensor, " n"]
    grid: tuple[int, int, int]  # frames, rows, columns of the first tokens, counted in patches
    tokens_per_shot: tuple[int, ...]  # each shot has a text; pins attend to the first shot's
    generated_mask: Bool[Tensor, " n"]  # given tokens that a model has generated, in an earlier window

    @property
    def num_frames(self) -> int:
        """Latent frames of grid and pins together."""
        return int(self.frame.max()) + 1

    @property
    def num_grid_tokens(self) -> int:
        """Tokens of the grid; those of the pins follow."""
        frames, rows, columns = self.grid
        return frames * rows * columns

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Canvas:
        """The same canvas with its tokens on another device, or in another number format."""
        return replace(self, clean=self.clean.to(device, dtype))

    def noised(
        self,
        tokens: Float[Tensor, "n p"],
        frame_sigmas: Float[Tensor, " f"],
        contexts: Sequence[Float[Tensor, "_l e"]],
        given_sigma: Number = 0.0,
        counts: Sequence[Int[Tensor, " _l"] | None] | None = None,
        generated_sigma: Number = 0.0,
    ) -> Sample:
        """The transformer's view: `tokens`, on any device, with a noise level per latent frame (a CPU tensor).

        Given tokens have levels of their own: `generated_sigma` where a model has generated them, else `given_sigma`.
        `contexts` are the states of each shot's text, `counts` the equal states that each of them stands for.
        """
        level = torch.where(self.given, len(frame_sigmas), self.frame)
        level = torch.where(self.generated_mask, len(frame_sigmas) + 1, level)
        group = TokenGroup(tokens, self.positions, level)
        sigmas = torch.cat([frame_sigmas, frame_sigmas.new_tensor([float(given_sigma), float(generated_sigma)])])
        texts = self.in_token_order(contexts)
        runs = [TextRun(num_tokens, len(text)) for num_tokens, text in zip(self._runs, texts, strict=True)]
        joined = None
        if counts is not None:
            joined = join_counts([len(text) for text in texts], self.in_token_order(counts))
        return make_sample([group], sigmas, torch.cat(texts), runs, joined)

    def in_token_order(self, of_shots: Sequence[OfShot]) -> list[OfShot]:
        """One item per text run: those of the shots, then the first shot's again for the pins."""
        return [*of_shots, *(of_shots[:1] if len(self._runs) > len(of_shots) else [])]

    @property
    def _runs(self) -> list[int]:
        """Tokens of each shot and then of the pins. A single shot includes the pins."""
        num_pinned = len(self.clean) - self.num_grid_tokens
        if len(self.tokens_per_shot) == 1:
            return [self.tokens_per_shot[0] + num_pinned]
        return [*self.tokens_per_shot, *([num_pinned] if num_pinned else [])]

    def guidance_falloff(self, ramp: int) -> Float[Tensor, "n 1"]:
        """Share of guidance to take away from each token, on the CPU: 1 next to a wholly given frame, then less.

        It is 0 from `ramp` latent frames further on, at any frame rate; positions skip at a cut, so it is 0 across one.
        A ramp of 0 gives 0 everywhere.
        """
        frames, rows, columns = self.grid
        whole = self.given[: self.num_grid_tokens].view(frames, rows * columns).all(dim=1)
        if ramp == 0 or not whole.any():
            return torch.zeros_like(self.positions[:, :1])
        times = self.positions[: self.num_grid_tokens : rows * columns, 0]
        step = times.diff().min()  # steps at cuts are longer; a given frame and a generated one make at least two
        distance = (self.positions[:, :1] - times[whole]).abs().min(dim=1, keepdim=True).values / step
        return (1 - (distance - 1) / ramp).clamp(0, 1)

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
    generated_mask: Bool[Tensor, "t h w"] | None = None,
) -> Canvas:
    """A canvas over a latent on any device: cells where `given` is true are conditions, all others are generated.

    Masks are on the CPU. `generated_mask` marks given cells that a model has generated; by default there are none.

    A token is given only if all its cells are. Frame rates are in frames per second, `time_stride` in pixel frames per
    latent frame. `shots` begin with one at 0 and are in order. At a cut, positions skip `CUT_GAP`.

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
    generated = torch.zeros_like(grid_given)
    if generated_mask is not None:
        generated = grid_given & (token_group(generated_mask.float()[None], **place).tokens.max(dim=1).values > 0)
    of_pins = torch.ones(sum(len(group.tokens) for group in groups[1:]), dtype=torch.bool)
    all_given = torch.cat([grid_given, of_pins])
    if grid_given.all():
        raise SizeError(f"all {grid[0]} latent frames are given, so there is nothing to generate; ask for more frames")
    positions = torch.cat([group.positions for group in groups])
    starts = [grid[1] * grid[2] * (shot.start // patch[0]) for shot in shots]  # tokens
    for start in (start for start, shot in zip(starts, shots, strict=True) if shot.is_cut):
        positions[start : len(grid_given), 0] += CUT_GAP
    return Canvas(
        clean=torch.cat([group.tokens for group in groups]),
        positions=positions,
        frame=torch.cat([group.sigma_group for group in groups]),
        given=all_given,
        grid=(grid[0], grid[1], grid[2]),
        tokens_per_shot=tuple(stop - start for start, stop in pairwise([*starts, len(grid_given)])),
        generated_mask=torch.cat([generated, ~of_pins]),
    )


def given_frames(latent: Float[Tensor, "c t h w"], frames: Sequence[int]) -> Bool[Tensor, "t h w"]:
    """A mask over a latent's cells, on the CPU: true in the listed latent frames."""
    mask = torch.zeros(latent.shape[1:], dtype=torch.bool)
    mask[list(frames)] = True
    return mask


def reference_pin(
    latent: Float[Tensor, "c t h w"], number: int, *, fps: Number, reference_fps: Number, time_stride: int
) -> Pin:
    """A reference image of a character or style, pinned at the same time before the video at every frame rate."""
    return Pin(latent, (REFERENCE_TIME - number) * time_stride * fps / reference_fps)
