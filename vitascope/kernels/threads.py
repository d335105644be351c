"""Two pieces of work at a time on a CPU, each on half of PyTorch's threads.

Threads that share one piece of work synchronise at every operator; two pieces on half of the threads each synchronise
only at the end. Guidance runs its two passes this way, and the codec two chunks of a video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from vitascope.kernels.device import is_cpu

Work = Callable[[], Tensor]

Submit = Callable[[Work], Future[Tensor]]
"""Queues work on one half of the threads; a half runs its work in order."""

RunPair = Callable[[Work, Work], tuple[Tensor, Tensor]]
"""Runs two independent pieces of work and returns both results."""


@contextmanager
def pair_runner(device: torch.device) -> Iterator[RunPair]:
    """A `RunPair` for work on a device: both pieces in parallel if `can_run_pairs`, otherwise in sequence.

    An error of either piece is raised when both have ended. The caller's number of threads doesn't change.
    """
    if not can_run_pairs(device):
        yield lambda first, second: (first(), second())
        return
    with split_pool() as (submit, submit_other):

        def run_pair(first: Work, second: Work) -> tuple[Tensor, Tensor]:
            futures = submit(first), submit_other(second)
            return futures[0].result(), futures[1].result()

        yield run_pair


@contextmanager
def split_pool() -> Iterator[tuple[Submit, Submit]]:
    """Two halves of PyTorch's threads to submit work to, where `can_run_pairs`; leaving waits for the work.

    Work runs in the gradient and inference mode of the thread that submits it. The caller's number of threads doesn't
    change.
    """
    num_threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "one half") as one, ThreadPoolExecutor(1, "other half") as other:
        try:
            for executor in (one, other):
                executor.submit(_set_num_threads, num_threads // 2).result()
        finally:  # threads started later inherit the last number set
            torch.set_num_threads(num_threads)
        yield partial(_submit, one), partial(_submit, other)


def can_run_pairs(device: torch.device) -> bool:
    """True on a CPU with an even number of PyTorch threads, outside autocast, which belongs to the caller's thread.

    The answer, and so the result, is the same in every run. Results of pairs and of work in turn may differ by
    rounding, as between any two numbers of threads.
    """
    return is_cpu(device) and torch.get_num_threads() % 2 == 0 and not torch.is_autocast_enabled("cpu")


def _set_num_threads(num_threads: int) -> None:
    """Set the calling thread's number; `split_pool` restores the number that new threads inherit."""
    torch.get_num_threads()  # a new thread takes PyTorch's default at its first call, which must not come later
    torch.set_num_threads(num_threads)


def _submit(executor: ThreadPoolExecutor, work: Work) -> Future[Tensor]:
    # both modes belong to a thread
    return executor.submit(_run, work, torch.is_inference_mode_enabled(), torch.is_grad_enabled())


def _run(work: Work, is_inference: bool, has_gradients: bool) -> Tensor:
    with torch.inference_mode(is_inference), torch.set_grad_enabled(has_gradients):
        return work()
