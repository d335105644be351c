"""What the codec's layers remember of the frames before a chunk, also while the chunk before is still being coded."""

from __future__ import annotations

from concurrent.futures import CancelledError
from threading import Condition

import torch
from torch import Tensor, nn


class Stream:
    """What the layers remember of the frames before a chunk; empty at the start of a video.

    Chunks that are coded one after the other share a stream. Two that are coded at once have one each, of which the
    later is made by `after`: there a layer that asks what it remembers waits until the same layer has remembered it of
    the chunk before. So the later chunk follows the earlier one a layer behind. Each layer asks, uses the answer, and
    only then remembers anew: in inference mode that writes over the tensor that `get` gave.
    """

    def __init__(self) -> None:
        self.is_under_way = False
        self._memory: dict[nn.Module, Tensor] = {}
        self._before: Stream | None = None
        self._has_failed = False
        self._changed = Condition()

    @classmethod
    def after(cls, before: Stream | None) -> Stream:
        """The stream of one chunk, which is under way until `end`; before it came another, or none."""
        stream = cls()
        stream._before, stream.is_under_way = before, True
        return stream

    def get(self, layer: nn.Module) -> Tensor | None:
        """What a layer remembers; None if it has seen nothing yet. In inference mode good until it remembers anew.

        Raises:
            CancelledError: the chunk before failed, and the layer has nothing of it.
        """
        own = self._memory.get(layer)
        if own is not None or self._before is None:
            return own
        return self._before._wait_for(layer)

    def __setitem__(self, layer: nn.Module, frames: Tensor) -> None:
        if not frames.requires_grad:
            frames = self._kept(layer, frames)
        with self._changed:
            self._memory[layer] = frames
            self._changed.notify_all()
        if self._before is not None:
            self._before._forget(layer)  # nobody else asks for it, and it may be large

    def _kept(self, layer: nn.Module, frames: Tensor) -> Tensor:
        """A copy: a view of a few frames would keep the whole chunk in memory.

        In inference mode it takes the place of what the layer remembered before, so that the heap isn't cut up.
        """
        old = self.get(layer) if torch.is_inference_mode_enabled() else None
        if old is None or not old.is_inference() or (old.shape, old.dtype) != (frames.shape, frames.dtype):
            return frames.clone()
        return old.copy_(frames)

    def __contains__(self, layer: nn.Module) -> bool:
        return self.get(layer) is not None

    def __bool__(self) -> bool:
        """Whether a chunk came before."""
        return bool(self._memory) or self._before is not None

    def end(self, *, failed: bool = False) -> None:
        """Say that the chunk is coded, or has failed; what earlier chunks left and this one didn't touch is kept."""
        earlier = {} if self._before is None else self._before._wait_for_end()
        with self._changed:
            self._memory = {**earlier, **self._memory}
            self._before, self.is_under_way, self._has_failed = None, False, failed
            self._changed.notify_all()

    def _wait_for(self, layer: nn.Module) -> Tensor | None:
        with self._changed:
            self._changed.wait_for(lambda: layer in self._memory or not self.is_under_way)
            if self._has_failed and layer not in self._memory:
                raise CancelledError
        return self.get(layer)

    def _wait_for_end(self) -> dict[nn.Module, Tensor]:
        with self._changed:
            self._changed.wait_for(lambda: not self.is_under_way)
            return self._memory

    def _forget(self, layer: nn.Module) -> None:
        with self._changed:
            self._memory.pop(layer, None)
