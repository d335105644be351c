"""What the codec's layers remember of the frames before a chunk, also while the chunk before is still being coded."""

from __future__ import annotations

from threading import Condition

from torch import Tensor, nn


class Stream:
    """What the layers remember of the frames before a chunk; empty at the start of a video.

    Chunks that are coded one after the other share a stream. Two that are coded at once have one each, of which the
    later is made by `after`: there a layer that asks what it remembers waits until the same layer has remembered it of
    the chunk before. So the later chunk follows the earlier one a layer behind.
    """

    def __init__(self) -> None:
        self._memory: dict[nn.Module, Tensor] = {}
        self._before: Stream | None = None
        self._is_under_way = False
        self._changed = Condition()

    @classmethod
    def after(cls, before: Stream | None) -> Stream:
        """The stream of one chunk, which is under way until `end`; before it came another, or none."""
        stream = cls()
        stream._before, stream._is_under_way = before, True
        return stream

    def get(self, layer: nn.Module) -> Tensor | None:
        """What a layer remembers; None if it has seen nothing yet."""
        own = self._memory.get(layer)
        if own is not None or self._before is None:
            return own
        return self._before._wait_for(layer)

    def __setitem__(self, layer: nn.Module, frames: Tensor) -> None:
        with self._changed:
            self._memory[layer] = frames
            self._changed.notify_all()

    def __contains__(self, layer: nn.Module) -> bool:
        return self.get(layer) is not None

    def __bool__(self) -> bool:
        """Whether a chunk came before."""
        return bool(self._memory) or self._before is not None

    def end(self) -> None:
        """Say that the chunk is coded, or can't be; what earlier chunks left and this one didn't touch is kept."""
        before = self._before
        earlier = {} if before is None else before._wait_for_end()
        with self._changed:
            self._memory = {**earlier, **self._memory}
            self._before, self._is_under_way = None, False
            self._changed.notify_all()

    def _wait_for(self, layer: nn.Module) -> Tensor | None:
        with self._changed:
            self._changed.wait_for(lambda: layer in self._memory or not self._is_under_way)
        return self.get(layer)

    def _wait_for_end(self) -> dict[nn.Module, Tensor]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_under_way)
            return self._memory
