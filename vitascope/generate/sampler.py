"""Solvers of the probability-flow equation d x / d sigma = velocity. Each is one function.

A solver evaluates the velocity at each of a descending list of noise levels, from 1 to 0. It is independent of text,
canvases and networks. To add one, write a function and enter it into SOLVERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
"""(x at sigma, sigma) -> d x / d sigma."""

OnStep = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


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

    Two-step Adams-Bashforth with unequal steps; the first step is Euler's.
    Source: Hairer, Norsett, Wanner, "Solving Ordinary Differential Equations I", section III.5.
    """
    x, levels = noise, sigmas.tolist()
    previous_slope: Tensor | None = None
    previous_length = 0.0
    for step, (sigma, next_sigma) in enumerate(pairwise(levels), start=1):
        slope, length = velocity(x, sigma), next_sigma - sigma
        combined = slope
        if previous_slope is not None:
            ratio = length / previous_length
            combined = slope + 0.5 * ratio * (slope - previous_slope)
        x = x + length * combined
        previous_slope, previous_length = slope, length
        if on_step is not None:
            on_step(step, len(levels) - 1)
    return x


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
}
