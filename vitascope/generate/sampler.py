"""Solvers of the probability-flow equation d x / d sigma = velocity. Each is one function.

A solver evaluates the velocity at each of a descending list of noise levels, from 1 to 0. It is independent of text,
canvases and networks. To add one, write a function and enter it into SOLVERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
"""(x at sigma, sigma) -> d x / d sigma."""

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

MAX_STEP_RATIO = 3.0  # of `multistep`: a longer extrapolation adds more error than it removes
MIN_ALPHA = 17 * 2**-24  # of pure noise, in logarithms: 1 - 0.999999 in single precision, the value in diffusers


def euler(velocity: Velocity, noise: Tensor, sigmas: Float[Tensor, " k"], on_step: OnStep | None = None) -> Tensor:
    """x at the last sigma, by first-order steps: one velocity a step."""
    x, levels = noise, sigmas.tolist()
    for step, (sigma, next_sigma) in enumerate(pairwise(levels), start=1):
        x = x + (next_sigma - sigma) * velocity(x, sigma)
        if on_step is not None:
            on_step(step, len(levels) - 1)
    return x


def heun(velocity: Velocity, noise: Tensor, sigmas: Float[Tensor, " k"], on_step: OnStep | None = None) -> Tensor:
    """x at the last sigma, by second-order steps: two velocities a step, one in a last step to sigma 0.

    Source: Karras et al. 2022 (arXiv:2206.00364), algorithm 1.
    """
    x, levels = noise, sigmas.tolist()
    for step, (sigma, next_sigma) in enumerate(pairwise(levels), start=1):
        slope = velocity(x, sigma)
        end = x + (next_sigma - sigma) * slope
        if next_sigma > 0:
            slope = 0.5 * (slope + velocity(end, next_sigma))
            end = x + (next_sigma - sigma) * slope
        x = end
        if on_step is not None:
            on_step(step, len(levels) - 1)
    return x


def multistep(velocity: Velocity, noise: Tensor, sigmas: Float[Tensor, " k"], on_step: OnStep | None = None) -> Tensor:
    """x at the last sigma, by second-order steps that reuse the step before: one velocity a step.

    Two-step Adams-Bashforth with unequal steps; the first step is Euler's. The ratio of neighbouring steps, which
    weights the extrapolation, is bounded: with large shifts the last steps grow quickly.
    Source: Hairer, Norsett, Wanner, "Solving Ordinary Differential Equations I", section III.5.
    """
    x, levels = noise, sigmas.tolist()
    previous_slope: Tensor | None = None
    previous_length = 0.0
    for step, (sigma, next_sigma) in enumerate(pairwise(levels), start=1):
        slope, length = velocity(x, sigma), next_sigma - sigma
        combined = slope
        if previous_slope is not None:
            ratio = min(length / previous_length, MAX_STEP_RATIO)
            combined = slope + 0.5 * ratio * (slope - previous_slope)
        x = x + length * combined
        previous_slope, previous_length = slope, length
        if on_step is not None:
            on_step(step, len(levels) - 1)
    return x


def unipc(velocity: Velocity, noise: Tensor, sigmas: Float[Tensor, " k"], on_step: OnStep | None = None) -> Tensor:
    """x at the last sigma, by predictor-corrector steps of order 2 in the log-SNR: one velocity a step.

    The velocity at a predicted x also corrects that x. The first and the last predictor are of order 1.
    Source: Zhao et al. 2023 (arXiv:2302.04867), UniPC-2 with B(h) = exp(h) - 1 and data prediction.
    """
    x, levels = noise, sigmas.tolist()
    num_steps = len(levels) - 1
    before: UniStep | None = None
    for step, (sigma, next_sigma) in enumerate(pairwise(levels), start=1):
        clean = x - sigma * velocity(x, sigma)
        if before is not None:
            x = before.corrected(clean)
        is_second_order = before is not None and step < num_steps
        older = (before.clean, before.sigma) if before is not None and is_second_order else None
        before = UniStep(x, clean, sigma, next_sigma, older)
        x = before.predicted()
        if on_step is not None:
            on_step(step, num_steps)
    return x


class UniStep(NamedTuple):
    """One step of `unipc`, from `start` at sigma to next_sigma. `older` is the previous clean prediction, its sigma.

    Both ends are Euler's plus multiples of differences of clean predictions, so given tokens stay exactly the same.
    """

    start: Tensor
    clean: Tensor
    sigma: float
    next_sigma: float
    older: tuple[Tensor, float] | None

    def predicted(self) -> Tensor:
        """x at next_sigma, from predictions up to `clean`."""
        return self._end(0.0 if self.older is None else 0.5 * self._past_slope(self.older))

    def corrected(self, next_clean: Tensor) -> Tensor:
        """x at next_sigma, from predictions up to next_clean. Needs next_sigma > 0."""
        ahead = next_clean - self.clean
        if self.older is None:
            return self._end(0.5 * ahead)
        h = log_snr(self.next_sigma) - log_snr(self.sigma)
        past, both = _corrector_weights(h, self._past_ratio(self.older[1]))
        return self._end(past * self._past_slope(self.older) + (both - past) * ahead)

    def _end(self, bend: Tensor | float) -> Tensor:
        """Euler's end of the step, with the clean prediction moved by `bend`."""
        return self.start + (self.next_sigma - self.sigma) * (self.start - self.clean - bend) / self.sigma

    def _past_slope(self, older: tuple[Tensor, float]) -> Tensor:
        """Change of the clean prediction per step length, between the older prediction and this one."""
        return (older[0] - self.clean) / self._past_ratio(older[1])

    def _past_ratio(self, older_sigma: float) -> float:
        """Position of the older level, in step lengths from sigma; negative."""
        begin = log_snr(self.sigma)
        return (log_snr(older_sigma) - begin) / (log_snr(self.next_sigma) - begin)


def log_snr(sigma: float) -> float:
    """log((1 - sigma) / sigma), finite also for pure noise."""
    return math.log(max(1 - sigma, MIN_ALPHA)) - math.log(sigma)


def _corrector_weights(h: float, ratio: float) -> tuple[float, float]:
    """(weight of the past slope, sum of both weights) that make the corrector exact for quadratic predictions.

    h is the step's length in log-SNR, ratio the position of the older prediction.
    """
    rise = math.expm1(-h)
    first = rise / -h - 1
    second = first / -h - 0.5
    both = first / rise
    return (both - 2 * second / rise) / (1 - ratio), both


class Solver(NamedTuple):
    """A solver, and the noise levels at which it evaluates the velocity on its way down a list of them."""

    integrate: Callable[[Velocity, Tensor, Tensor, OnStep | None], Tensor]
    evaluated: Callable[[Sequence[float]], list[float]]


def _each_once(sigmas: Sequence[float]) -> list[float]:
    return list(sigmas[:-1])


def _both_ends(sigmas: Sequence[float]) -> list[float]:
    return [sigma for step in pairwise(sigmas) for sigma in step if sigma > 0]


SOLVERS = {
    "euler": Solver(euler, _each_once),
    "heun": Solver(heun, _both_ends),
    "multistep": Solver(multistep, _each_once),
    "unipc": Solver(unipc, _each_once),
}
