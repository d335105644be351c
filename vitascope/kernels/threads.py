"""Work side by side, each piece on half of a CPU's threads: guidance's two passes, and chunks of a video.

Threads that share a piece of work wait for each other at every operator; threads with one of their own, only at its
end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

Work = Callable[[], Tensor]

Begin = Callable[[Work], Future[Tensor]]
"""Begins a piece of work on one half of the threads, when all that was begun there before has ended."""

Both = Callable[[Work, Work], tuple[Tensor, Tensor]]
"""Does two pieces of work, neither of which needs the other, and returns what both return."""


def in_turn(first: Work, second: Work) -> tuple[Tensor, Tensor]:
    """One after the other, each on all threads."""
    return first(), second()


@contextmanager
def side_by_side(device: torch.device) -> Iterator[Both]:
    """Both at once where `runs_at_once` says so, otherwise in turn. On leaving, passes under way are waited for.

    What either of them raises is raised. The caller's number of threads stays as it is.
    """
    if not runs_at_once(device):
        yield in_turn
        return
    with halves() as (one, other):

        def at_once(first: Work, second: Work) -> tuple[Tensor, Tensor]:
            futures = one(first), other(second)
            return futures[0].result(), futures[1].result()

        yield at_once


@contextmanager
def halves() -> Iterator[tuple[Begin, Begin]]:
    """Both halves of the threads, to begin work on where `runs_at_once` says so. On leaving, work is waited for.

    Work runs with or without gradients as its caller does. The caller's number of threads stays as it is.
    """
    num_threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "one half") as one, ThreadPoolExecutor(1, "other half") as other:
        try:
            for executor in (one, other):
                executor.submit(_set_num_threads, num_threads // 2).result()
        finally:  # PyTorch gives the last number set to all threads that begin later
            torch.set_num_threads(num_threads)
        yield partial(_begin, one), partial(_begin, other)


def runs_at_once(device: torch.device) -> bool:
    """Whether work on this device runs side by side: on a CPU, with threads that can be halved.

    This depends on nothing that changes from run to run, so neither do results. Beside those of work in turn they may
    differ by rounding, as between any two numbers of threads. Under autocast, which belongs to the caller's thread,
    nothing runs at once.
    """
    is_halved = device.type == "cpu" and torch.get_num_threads() % 2 == 0
    return is_halved and not torch.is_autocast_enabled("cpu")


def _set_num_threads(num_threads: int) -> None:
    """For the calling thread alone, but for what `halves` sets right again."""
    torch.get_num_threads()  # first: it makes a new thread begin with PyTorch's number, whatever was set before
    torch.set_num_threads(num_threads)


def _begin(executor: ThreadPoolExecutor, work: Work) -> Future[Tensor]:
    # which modes each thread has to itself
    return executor.submit(_run, work, torch.is_inference_mode_enabled(), torch.is_grad_enabled())


def _run(work: Work, is_inference: bool, has_gradients: bool) -> Tensor:
    with torch.inference_mode(is_inference), torch.set_grad_enabled(has_gradients):
        return work()
