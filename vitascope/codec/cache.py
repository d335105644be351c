"""Past frames that the codec's layers need for the next chunk, also if the previous chunk is still running."""

from __future__ import annotations

from concurrent.futures import CancelledError
from threading import Condition

import torch
from torch import Tensor, nn


class CausalCache:
    """The last input frames of each layer, for the next chunk; empty at the start of a video.

    Chunks coded in sequence share a cache. Two chunks coded in parallel have one cache each; `after` creates the later
    one. Its `get` waits until the same layer has stored its frames of the previous chunk, so the later chunk follows
    one layer behind. A layer calls `get`, uses the frames, and only then stores new ones: in inference mode, storing
    overwrites the tensor that `get` returned.
    """

    def __init__(self) -> None:
        self.is_running = False
        self._frames: dict[nn.Module, Tensor] = {}
        self._previous: CausalCache | None = None
        self._has_failed = False
        self._changed = Condition()

    @classmethod
    def after(cls, previous: CausalCache | None) -> CausalCache:
        """A cache for one chunk, running until `end`; `previous` is that of the chunk before it, if any."""
        cache = cls()
        cache._previous, cache.is_running = previous, True
        return cache

    def get(self, layer: nn.Module) -> Tensor | None:
        """The stored frames of a layer; None before its first chunk. In inference mode, valid until the next store.

        Raises:
            CancelledError: the previous chunk failed before this layer stored anything.
        """
        own = self._frames.get(layer)
        if own is not None or self._previous is None:
            return own
        return self._previous._wait_for(layer)

    def __setitem__(self, layer: nn.Module, frames: Tensor) -> None:
        if not frames.requires_grad:
            frames = self._copy(layer, frames)
        with self._changed:
            self._frames[layer] = frames
            self._changed.notify_all()
        if self._previous is not None:
            self._previous._drop(layer)  # no other chunk needs it, and it may be large

    def _copy(self, layer: nn.Module, frames: Tensor) -> Tensor:
        """A copy: a view of a few frames would keep the whole chunk in memory.

        In inference mode it overwrites the layer's previous frames, so that the heap doesn't fragment.
        """
        old = self.get(layer) if torch.is_inference_mode_enabled() else None
        if old is None or not old.is_inference() or (old.shape, old.dtype) != (frames.shape, frames.dtype):
            return frames.clone()
        return old.copy_(frames)

    def __contains__(self, layer: nn.Module) -> bool:
        return self.get(layer) is not None

    def __bool__(self) -> bool:
        """True unless this is the cache of a video's first chunk."""
        return bool(self._frames) or self._previous is not None

    def end(self, *, failed: bool = False) -> None:
        """Mark the chunk as coded or failed; frames of layers that it didn't run are taken from earlier chunks."""
        earlier = {} if self._previous is None else self._previous._wait_for_end()
        with self._changed:
            self._frames = {**earlier, **self._frames}
            self._previous, self.is_running, self._has_failed = None, False, failed
            self._changed.notify_all()

    def _wait_for(self, layer: nn.Module) -> Tensor | None:
        with self._changed:
            self._changed.wait_for(lambda: layer in self._frames or not self.is_running)
            if self._has_failed and layer not in self._frames:
                raise CancelledError
        return self.get(layer)

    def _wait_for_end(self) -> dict[nn.Module, Tensor]:
        with self._changed:
            self._changed.wait_for(lambda: not self.is_running)
            return self._frames

    def _drop(self, layer: nn.Module) -> None:
        with self._changed:
            self._frames.pop(layer, None)
