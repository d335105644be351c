"""Layers of the codec: the cache of past frames, the norm over channels, the causal convolution, the linear path."""

from __future__ import annotations

import math
from concurrent.futures import CancelledError
from threading import Condition

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.kernels.conv import Conv3d, Frames, convolve_causal, has_fast_path, lay_out_causal

MIN_MOTION = 1e-3  # standard deviation of pixels in [-1, 1]; smaller ones are rounding errors


class ChannelNorm(nn.Module):
    """Root-mean-square norm over channels, separate for each cell, so that it stays causal."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Frames) -> Frames:
        """gain * x / rms(x), with the rms over channels."""
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return x * (math.sqrt(x.shape[1]) / length) * self.gain.view(1, -1, 1, 1, 1)


class CausalConv3d(Conv3d):
    """A convolution over present and past frames; frames before the first are zeros."""

    def __init__(self, in_width: int, out_width: int, kernel: tuple[int, int, int]):
        super().__init__(in_width, out_width, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))
        self.num_past = kernel[0] - 1

    def forward(self, x: Frames, cache: CausalCache, norm: ChannelNorm | None = None) -> Frames:
        """The convolution of x or, with a norm, of SiLU(norm(x))."""
        if not self.num_past:
            return super().forward(x if norm is None else F.silu(norm(x)))
        past, gain = cache.get(self), None if norm is None else norm.gain
        if has_fast_path(x, *(t for t in (self.weight, past, gain) if t is not None)):
            laid_out = lay_out_causal(self, x, past, gain)
            cache[self] = laid_out.last(self.num_past)
            return convolve_causal(self, laid_out)
        x = x if norm is None else F.silu(norm(x))
        x = F.pad(x, (0, 0, 0, 0, self.num_past, 0)) if past is None else torch.cat([past, x], dim=2)
        cache[self] = x[:, :, -self.num_past :]
        return super().forward(x)


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


class LinearPath(nn.Module):
    """A linear projection of each latent cell's block of pixels, and its inverse, added to the network's output.

    Fitted by principal components (`fit`), it is the starting point of a short training run: convolutions learn only
    the residual of a linear map. The first frame, which stands alone, has its own map.
    """

    def __init__(self, latent_channels: int, stride: tuple[int, int, int]):
        super().__init__()
        self.stride = stride
        time, rows, columns = stride
        image, clip = 3 * rows * columns, 3 * time * rows * columns
        self.encode_first, self.encode_rest = (nn.Linear(size, latent_channels) for size in (image, clip))
        self.decode_first, self.decode_rest = (nn.Linear(latent_channels, size) for size in (image, clip))
        # fitted, never trained: gradient steps as large as the network's would undo the fit
        self.requires_grad_(False)

    def encode(self, pixels: Float[Tensor, "b 3 t h w"], first_chunk: bool) -> Float[Tensor, "b c t2 h2 w2"]:
        """The linear part of the latents."""
        first = int(first_chunk)
        parts = [self.encode_first(self.blocks(pixels[:, :, :1], 1))] if first_chunk else []
        if pixels.shape[2] > first:
            parts.append(self.encode_rest(self.blocks(pixels[:, :, first:], self.stride[0])))
        return rearrange(torch.cat(parts, dim=1), "b t h w c -> b c t h w")

    def decode(self, latent: Float[Tensor, "b c t h w"], first_chunk: bool) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """The linear part of the pixels."""
        z, first = rearrange(latent, "b c t h w -> b t h w c"), int(first_chunk)
        parts = [self.pixels(self.decode_first(z[:, :1]), 1)] if first_chunk else []
        if z.shape[1] > first:
            parts.append(self.pixels(self.decode_rest(z[:, first:]), self.stride[0]))
        return torch.cat(parts, dim=2)

    def blocks(self, pixels: Float[Tensor, "b 3 t h w"], time: int) -> Float[Tensor, "b t2 h2 w2 n"]:
        """The pixels of each latent cell, as one vector."""
        _, q, r = self.stride
        return rearrange(pixels, "b c (t p) (h q) (w r) -> b t h w (c p q r)", p=time, q=q, r=r)

    def pixels(self, blocks: Float[Tensor, "b t h w n"], time: int) -> Float[Tensor, "b 3 t2 h2 w2"]:
        """The pixels of the vectors of `blocks`."""
        _, q, r = self.stride
        return rearrange(blocks, "b t h w (c p q r) -> b c (t p) (h q) (w r)", p=time, q=q, r=r)

    @torch.no_grad()
    def fit(self, first: Float[Tensor, "m n1"], rest: Float[Tensor, "k n2"]) -> None:
        """Set both maps from sample blocks of first frames and of later cells.

        First frames are projected on their leading principal components, scaled to unit variance. In later cells, the
        leading channels hold the same components of the mean over time, at the same scale. The other channels hold
        principal components of the deviation from that mean. The split of channels between both kinds maximises the
        explained variance.

        So a still block has the same code in a first frame and later, and what a transformer learns from images applies
        to videos.
        """
        channels, time = self.encode_first.out_features, self.stride[0]
        frames = rest.unflatten(1, (3, time, -1))  # [k, colour, time, pixel]
        average = frames.mean(dim=2)
        mean, directions, deviations = principal_components(first if len(first) else average.flatten(1))
        _set_linear(self.encode_first, self.decode_first, directions[:, :channels], deviations[:channels], mean)
        # the same directions in the space of later cells, of unit length there too
        repeated = repeat(directions / time**0.5, "(c n) d -> (c t n) d", c=3, t=time)
        basis, scale = repeated, deviations * time**0.5
        if len(rest):
            along_still = ((average.flatten(1) - mean) @ directions).std(dim=0) * time**0.5
            _, motions, along_motions = principal_components((frames - average.unsqueeze(2)).flatten(1))
            is_motion = along_motions > MIN_MOTION
            motions, along_motions = motions[:, is_motion], along_motions[is_motion]
            leading = torch.cat([along_still, along_motions]).topk(channels).indices
            num_still = int((leading < len(along_still)).sum())
            basis = torch.cat([repeated[:, :num_still], motions], dim=1)
            scale = torch.cat([scale[:num_still], along_motions])
        centre = repeat(mean, "(c n) -> (c t n)", c=3, t=time)
        _set_linear(self.encode_rest, self.decode_rest, basis[:, :channels], scale[:channels], centre)


def principal_components(
    samples: Float[Tensor, "m n"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"], Float[Tensor, " n"]]:
    """(mean, orthonormal directions as columns, standard deviation along each), the largest first."""
    mean = samples.mean(dim=0)
    centred = samples - mean
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(samples))
    return mean, directions.flip(1), variances.flip(0).clamp_min(1e-8).sqrt()


def _set_linear(
    encode: nn.Linear,
    decode: nn.Linear,
    basis: Float[Tensor, "n c"],
    scale: Float[Tensor, " c"],
    mean: Float[Tensor, " n"],
) -> None:
    encode.weight.copy_((basis / scale).T)
    encode.bias.copy_(-(basis / scale).T @ mean)
    decode.weight.copy_(basis * scale)
    decode.bias.copy_(mean)
