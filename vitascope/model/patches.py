"""Spacetime patches: latents to tokens and back, their positions and rotary embedding, many samples in one sequence.

Positions, noise groups and counts are computed on the CPU. Tokens, text states and all inputs of a forward pass are on
the latents' device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from vitascope.errors import SizeError
from vitascope.kernels.device import CPU
from vitascope.types import Number

Patch = tuple[int, int, int]


@dataclass(frozen=True)
class TokenGroup:
    """Tokens of one latent: the grid to generate, or a pin (a given clip or image, encoded on its own)."""

    tokens: Float[Tensor, "n p"]
    positions: Float[Tensor, "n 3"]  # on the CPU
    sigma_group: Int[Tensor, " n"]  # index into the sigmas of the group's sample; on the CPU


class TextRun(NamedTuple):
    """Neighbouring tokens that attend to the same text."""

    num_tokens: int
    num_text_tokens: int


@dataclass(frozen=True)
class Sample:
    """One video with its pins and its texts. Tokens are in the order of the groups; nothing is padded."""

    tokens: Float[Tensor, "n p"]
    positions: Float[Tensor, "n 3"]  # on the CPU, as are the next two
    frame_index: Int[Tensor, " n"]  # index into sigmas: tokens of one latent frame normally share a noise level
    sigmas: Float[Tensor, " f"]  # in [0, 1], 0 = data (given), 1 = noise
    context: Float[Tensor, "l e"]  # states of all its texts, in the order of the runs
    text_runs: tuple[TextRun, ...]  # assign tokens to parts of the context
    context_counts: Int[Tensor, " l"] | None = None  # equal text tokens that each one represents, on the CPU; None: 1

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Sample:
        """The same sample with tokens and context on another device, or in another number format."""
        return replace(self, tokens=self.tokens.to(device, dtype), context=self.context.to(device, dtype))


@dataclass(frozen=True)
class Pack:
    """Several samples in one sequence. Attention never crosses from one sample to the next."""

    tokens: Float[Tensor, "n p"]
    positions: Float[Tensor, "n 3"]  # on the CPU: rotary angles are computed there, once per pack
    noise_group: Int[Tensor, " n"]  # index into sigmas
    sigmas: Float[Tensor, " g"]  # distinct and ascending, shared by all samples
    lengths: tuple[int, ...]  # tokens of each sample
    context: Float[Tensor, "l e"]
    context_lengths: tuple[int, ...]  # text tokens of each text; a sample has one or several
    tokens_per_text: tuple[int, ...]  # video tokens that attend to each text
    context_counts: Int[Tensor, " l"] | None = None  # equal text tokens that each one represents, on the CPU; None: 1
    noise_run: int = 1  # tokens per aligned run that shares a noise group; 1 is always valid

    @property
    def token_sigmas(self) -> Float[Tensor, " n"]:
        """The noise level of each token."""
        return self.sigmas[self.noise_group]

    def at(self, tokens: Float[Tensor, "n p"], sigma: float) -> Pack:
        """The same samples at another sampling step: new tokens, and `sigma` in place of the highest noise level.

        Lower levels belong to condition tokens, which keep them. Never waits for the device.
        """
        sigmas = self.sigmas.clone()
        sigmas[-1].fill_(sigma)
        return replace(self, tokens=tokens, sigmas=sigmas)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Pack:
        """The same pack on another device; dtype changes tokens and context, never positions and noise levels."""
        return replace(
            self,
            tokens=self.tokens.to(device, dtype),
            noise_group=self.noise_group.to(device),
            sigmas=self.sigmas.to(device),
            context=self.context.to(device, dtype),
        )


def patchify(latent: Float[Tensor, "c t h w"], patch: Patch = (1, 2, 2)) -> Float[Tensor, "n p"]:
    """One token per patch, in row-major order (time, row, column). `unpatchify` is its exact inverse.

    A token's values are in the order (c, pt, ph, pw). A Conv3d's weight over the patch, flattened, is thus a Linear's
    weight over the token.

    Raises:
        SizeError: a side of the latent is not divisible by the patch.
    """
    for axis, side, step in zip(("frames", "rows", "columns"), latent.shape[1:], patch, strict=True):
        if side % step:
            raise SizeError(f"latent of {side} {axis} is not divisible by a patch of {step}; crop or pad it first")
    pt, ph, pw = patch
    return rearrange(latent, "c (t pt) (h ph) (w pw) -> (t h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw)


def unpatchify(
    tokens: Float[Tensor, "n p"], grid: tuple[int, int, int], patch: Patch = (1, 2, 2)
) -> Float[Tensor, "c t h w"]:
    """The latent of the tokens of a grid (frames, rows, columns, counted in patches)."""
    (t, h, w), (pt, ph, pw) = grid, patch
    return rearrange(tokens, "(t h w) (c pt ph pw) -> c (t pt) (h ph) (w pw)", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def grid_positions(
    num_latent_frames: int,
    rows: int,
    columns: int,
    *,
    fps: Number,
    reference_fps: Number,
    frame_offset: Number = 0,
    time_stride: int = 4,
) -> Float[Tensor, "n 3"]:
    """(time, row, column) of every token of a grid, row-major, on the CPU; rows and columns are counted in tokens.

    Latent frame k covers pixel frames up to frame_offset + time_stride * k. Its time is that frame's number divided by
    time_stride, rescaled by reference_fps / fps: an image at pixel frame f sits at f / time_stride, and one second of
    video spans the same distance at every frame rate. frame_offset is the pixel frame of the video at which the latent
    begins; it may be negative.

    Raises:
        SizeError: a rate that is not positive.
    """
    if fps <= 0 or reference_fps <= 0:
        raise SizeError(f"frame rates must be positive, got {fps} and {reference_fps} frames per second")
    last_pixel_frame = float(frame_offset) + time_stride * torch.arange(num_latent_frames, dtype=torch.float64)
    times = last_pixel_frame / time_stride * float(reference_fps / fps)
    axes = (times, torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64))
    return torch.cartesian_prod(*axes).float()


def token_group(
    latent: Float[Tensor, "c t h w"],
    *,
    fps: Number,
    reference_fps: Number,
    patch: Patch = (1, 2, 2),
    frame_offset: Number = 0,
    time_stride: int = 4,
    first_sigma: int = 0,
) -> TokenGroup:
    """The tokens of one latent, with a noise group per latent frame: first_sigma, first_sigma + 1, ...

    Raises:
        SizeError: a side of the latent is not divisible by the patch, or a rate is not positive.
    """
    frames, rows, columns = (side // step for side, step in zip(latent.shape[1:], patch, strict=True))
    positions = grid_positions(
        frames,
        rows,
        columns,
        fps=fps,
        reference_fps=reference_fps,
        frame_offset=frame_offset,
        time_stride=time_stride * patch[0],
    )
    sigma_group = first_sigma + torch.arange(frames).repeat_interleave(rows * columns)
    return TokenGroup(patchify(latent, patch), positions, sigma_group)


def make_sample(
    groups: Sequence[TokenGroup],
    sigmas: Float[Tensor, " f"],
    context: Float[Tensor, "l e"],
    text_runs: Sequence[TextRun] = (),
    context_counts: Int[Tensor, " l"] | None = None,
) -> Sample:
    """One sample of concatenated groups, whose sigma_group indexes `sigmas`.

    Without text_runs all tokens attend to the whole context.

    Raises:
        ValueError: the runs don't add up to the tokens and the context.
    """
    num_tokens = sum(len(group.tokens) for group in groups)
    runs = tuple(text_runs) or (TextRun(num_tokens, len(context)),)
    if [sum(lengths) for lengths in zip(*runs, strict=True)] != [num_tokens, len(context)]:
        raise ValueError(f"text runs {runs} don't fit {num_tokens} tokens and {len(context)} text tokens")
    return Sample(
        tokens=torch.cat([group.tokens for group in groups]),
        positions=torch.cat([group.positions for group in groups]),
        frame_index=torch.cat([group.sigma_group for group in groups]),
        sigmas=sigmas,
        context=context,
        text_runs=runs,
        context_counts=context_counts,
    )


def pack(samples: Sequence[Sample]) -> Pack:
    """All samples in one sequence, on the device of their tokens. Equal noise levels of different samples are merged.

    Raises:
        ValueError: no samples, or one without tokens or without text (attention over nothing is undefined).
    """
    if not samples:
        raise ValueError("no samples: a pack needs at least one sample")
    runs = [run for sample in samples for run in sample.text_runs]
    if any(0 in run for run in runs):
        raise ValueError(f"text runs {runs}: each needs tokens and context; encode the empty prompt for no text")
    sigmas, group_of_sigma = torch.unique(torch.cat([sample.sigmas for sample in samples]), return_inverse=True)
    groups = group_of_sigma.split([len(sample.sigmas) for sample in samples])
    noise_group = torch.cat([group[sample.frame_index] for group, sample in zip(groups, samples, strict=True)])
    tokens = torch.cat([sample.tokens for sample in samples])
    return Pack(
        tokens=tokens,
        positions=torch.cat([sample.positions for sample in samples]),
        noise_group=noise_group.to(tokens.device),
        sigmas=sigmas.to(tokens.device),
        lengths=tuple(len(sample.tokens) for sample in samples),
        context=torch.cat([sample.context for sample in samples]),
        context_lengths=tuple(run.num_text_tokens for run in runs),
        tokens_per_text=tuple(run.num_tokens for run in runs),
        context_counts=join_counts(
            [len(sample.context) for sample in samples], [sample.context_counts for sample in samples]
        ),
        noise_run=math.gcd(*torch.unique_consecutive(noise_group, return_counts=True)[1].tolist()),
    )


def join_counts(lengths: Sequence[int], counts: Sequence[Int[Tensor, " _l"] | None]) -> Int[Tensor, " l"] | None:
    """The concatenated counts of texts of these lengths, on the CPU; None if no text has counts."""
    if all(count is None for count in counts):
        return None
    ones = (torch.ones(length, dtype=torch.int64) for length in lengths)
    return torch.cat([one if count is None else count for one, count in zip(ones, counts, strict=True)])


def unpack(tokens: Float[Tensor, "n p"], lengths: Sequence[int]) -> list[Float[Tensor, "_ p"]]:
    """The tokens of each sample of a pack, in order, as views."""
    return list(tokens.split(list(lengths)))


def rotary_table(positions: Float[Tensor, "n 3"], head_dim: int, theta: float = 10000.0) -> Float[Tensor, "n half 2"]:
    """Cosine and sine of the rotation angle of each of the head_dim / 2 channel pairs of a token, on the CPU.

    The first pairs rotate with time, the next with the row, the last with the column (see `axis_widths`).

    Source: Su et al. 2021 (arXiv:2104.09864), equation 15; the split over three axes is that of Wan 2.1.
    """
    angles = []
    # fp64: in fp32 a phase of some thousand radians keeps only three digits of its fraction; mps has no fp64
    for position, width in zip(positions.to(CPU, torch.float64).unbind(-1), axis_widths(head_dim), strict=True):
        exponents = torch.arange(0, width, 2, dtype=torch.float64) / width
        angles.append(torch.outer(position, theta**-exponents))
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that carry (time, row, column): a third each, rounded to pairs; time takes the rest."""
    space = 2 * (head_dim // 6)
    return head_dim - 2 * space, space, space


def apply_rotary(x: Float[Tensor, "n heads d"], table: Float[Tensor, "n half 2"]) -> Float[Tensor, "n heads d"]:
    """x with each pair of neighbouring channels (2i, 2i + 1) rotated by its angle; half precision rotates in fp32."""
    pairs, table = x.float().unflatten(-1, (-1, 2)), table.unsqueeze(1)
    if not torch.compiler.is_compiling():  # complex products are the fastest; compilers don't fuse them
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    else:
        (even, odd), (cos, sin) = pairs.unbind(-1), table.unbind(-1)
        rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return rotated.flatten(-2).type_as(x)
