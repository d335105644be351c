"""Two passes of a network side by side, each on half of a CPU's threads: guidance needs two at every step.

Threads that share a pass wait for each other at every operator; threads with a pass of their own, only at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

Work = Callable[[], Tensor]

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
    num_threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "pass") as one, ThreadPoolExecutor(1, "pass") as other:
        try:
            for executor in (one, other):
                executor.submit(_set_num_threads, num_threads // 2).result()
        finally:  # PyTorch gives the last number set to all threads that begin later
            torch.set_num_threads(num_threads)

        def at_once(first: Work, second: Work) -> tuple[Tensor, Tensor]:
            is_inference = torch.is_inference_mode_enabled()  # which each thread has to itself
            futures = [one.submit(_run, first, is_inference), other.submit(_run, second, is_inference)]
            return futures[0].result(), futures[1].result()

        yield at_once


def runs_at_once(device: torch.device) -> bool:
    """Whether two passes on this device run side by side: on a CPU, with threads that can be halved.

    This depends on nothing that changes from run to run, so neither do results. Beside those of passes in turn they may
    differ by rounding, as between any two numbers of threads. Under autocast, which belongs to the caller's thread,
    passes run in turn.
    """
    is_halved = device.type == "cpu" and torch.get_num_threads() % 2 == 0
    return is_halved and not torch.is_autocast_enabled("cpu")


def _set_num_threads(num_threads: int) -> None:
    """For the calling thread alone, but for what `side_by_side` sets right again."""
    torch.get_num_threads()  # first: it makes a new thread begin with PyTorch's number, whatever was set before
    torch.set_num_threads(num_threads)


def _run(work: Work, is_inference: bool) -> Tensor:
    with torch.inference_mode(is_inference):
        return work()
