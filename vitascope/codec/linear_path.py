"""A linear codec parallel to the network: principal components of each latent cell's block of pixels."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

MIN_MOTION = 1e-3  # standard deviation of pixels in [-1, 1]; smaller ones are rounding errors


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
        parts = [self._pixels(self.decode_first(z[:, :1]), 1)] if first_chunk else []
        if z.shape[1] > first:
            parts.append(self._pixels(self.decode_rest(z[:, first:]), self.stride[0]))
        return torch.cat(parts, dim=2)

    def blocks(self, pixels: Float[Tensor, "b 3 t h w"], time: int) -> Float[Tensor, "b t2 h2 w2 n"]:
        """The pixels of each latent cell, as one vector."""
        _, q, r = self.stride
        return rearrange(pixels, "b c (t p) (h q) (w r) -> b t h w (c p q r)", p=time, q=q, r=r)

    def _pixels(self, blocks: Float[Tensor, "b t h w n"], time: int) -> Float[Tensor, "b 3 t2 h2 w2"]:
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
