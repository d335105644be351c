"""The benchmarks: sampling, coding and training by networks of equal weights.

Prompts are random states padded with zeros to 512, as Wan's are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import vitascope
from benchmarks.commands import command_benchmarks
from benchmarks.compare import (
    Backend,
    Benchmark,
    Work,
    difference_beyond_rounding,
    relative_difference,
    root_mean_square,
)
from benchmarks.networks import FPS, GUIDANCE, NEGATIVE, NUM_WORDS, PROMPT, Networks, RandomStates, Scale
from vitascope.codec.streaming import chunk_spans, decode_frames, decode_stream, encode_stream, latent_spans
from vitascope.codec.video_codec import VideoCodec
from vitascope.errors import VitascopeError
from vitascope.generate.guidance import ConditionedDenoiser
from vitascope.kernels.device import CPU, is_cpu
from vitascope.kernels.int8 import check_eight_bit, quantize_
from vitascope.model.canvas import given_frames, make_canvas
from vitascope.model.diffusion import add_noise
from vitascope.model.patches import Sample, make_sample, pack, token_group, unpack, unpatchify
from vitascope.model.text import distinct_states
from vitascope.model.transformer import Transformer, num_flops

TRAINED_PROMPT = "a red robot walks over the beach, the camera pans left"
TRAINED_SIGMAS = (0.9, 0.6, 0.3)


class Suite:
    """The benchmarks of one scale. A method builds each one, so its networks are freed after it."""

    def __init__(
        self,
        scale: Scale,
        folder: Path,
        device: torch.device = CPU,
        dtype: torch.dtype = torch.float32,
        *,
        tuned: bool = False,
    ):
        self.scale, self.device, self.dtype = scale, device, dtype
        self.networks = Networks(scale, folder, device, dtype, tuned=tuned)

    def all(self) -> dict[str, Callable[[], Benchmark]]:
        """A builder for each benchmark's name."""
        benchmarks: dict[str, Callable[[], Benchmark]] = {"steps": self.steps, "images": self.images}
        for base in self.scale.codecs:
            benchmarks[f"decode-{base}"] = partial(self.decode, base)
            benchmarks[f"encode-{base}"] = partial(self.encode, base)
        benchmarks |= {"pipeline": self.pipeline, "training": self.training}
        if is_cpu(self.device) and self.dtype == torch.float32:
            benchmarks["length"] = self.length
            benchmarks |= self._int8() if supports_int8() else {}
            benchmarks |= command_benchmarks(self.networks.folder)
        return benchmarks

    def _int8(self) -> dict[str, Callable[[], Benchmark]]:
        decodings = {f"decode-{base}-int8": partial(self.decode, base, int8=True) for base in self.scale.codecs}
        return {"steps-int8": partial(self.steps, int8=True), **decodings, "trained-int8": self.trained}

    def steps(self, *, int8: bool = False) -> Benchmark:
        """Guided sampling of a latent; both backends receive the prompts' text states."""
        scale, steps = self.scale, self.scale.steps
        ours, theirs = self.networks.pipelines(base=4)
        if int8:
            quantize_(ours.transformer, ours.transformer.int8_rules)
        stride = ours.codec.stride
        shape = 1 + (scale.num_frames - 1) // stride.time, scale.height // stride.rows, scale.width // stride.columns
        latent = torch.zeros(ours.codec.latent_channels, *shape)
        canvas = make_canvas(
            latent, given_frames(latent, []), fps=FPS, reference_fps=FPS, patch=(1, 2, 2), time_stride=stride.time
        )

        def sample() -> Tensor:
            tokens = ours.sample(canvas, PROMPT, negative=NEGATIVE, num_steps=steps, guidance=GUIDANCE)
            return canvas.grid_latent(tokens, (1, 2, 2))

        tokens = canvas.num_grid_tokens
        flops = steps * sum(self._flops(ours.transformer, tokens, prompt) for prompt in (PROMPT, NEGATIVE))
        peer = partial(theirs, output="latent")
        name = f"{steps} guided steps, {canvas.num_grid_tokens} tokens"
        if int8:
            return Benchmark(f"{name}, int8", sample, peer, 1e-2, 2.4, difference=relative_difference)
        return self._benchmark(name, sample, peer, 1e-3, 1.5, flops)

    def pipeline(self) -> Benchmark:
        """Guided sampling and decoding, to the finished frames."""
        scale, steps = self.scale, self.scale.steps
        ours, theirs = self.networks.pipelines(base=scale.codecs[0])

        def generate() -> Tensor:
            video = ours.generate(PROMPT, negative=NEGATIVE, num_steps=steps, guidance=GUIDANCE)
            return torch.from_numpy(video.frames).float() / 255

        benchmark = self._benchmark(
            f"pipeline, {steps} guided steps", generate, partial(theirs, output="np"), 1e-3, 1.7
        )
        return replace(benchmark, difference=difference_beyond_rounding)

    def trained(self, *, int8: bool = True) -> Benchmark:
        """Predictions of the bundled model on a noised video of its own, since the error of 8 bits depends on weights.

        All other benchmarks have random weights.
        """
        ours = vitascope.load("playground", device="cpu", dtype="int8" if int8 else "float32")
        peer = self.networks.bundled_peer()
        config, patch, fps = ours.config, ours.grid.patch, ours.config.reference_fps
        latent = torch.zeros(
            ours.codec.latent_channels, *ours.grid.shape(config.num_frames, config.height, config.width)
        )
        canvas = make_canvas(
            latent,
            given_frames(latent, []),
            fps=fps,
            reference_fps=fps,
            patch=patch,
            time_stride=ours.codec.stride.time,
        )
        prompt = ours.encode_prompt(TRAINED_PROMPT)
        clean = ours.sample(canvas, prompt, num_steps=config.num_steps, guidance=config.guidance)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(7))
        noised = [(add_noise(clean, noise, torch.full((len(clean),), sigma)), sigma) for sigma in TRAINED_SIGMAS]
        denoiser = ConditionedDenoiser(ours.transformer, canvas, [prompt], history_noise=0)

        @torch.inference_mode()
        def predict() -> Tensor:
            outputs = [ours.transformer(denoiser.pack.at(x, sigma), denoiser.prepared) for x, sigma in noised]
            return torch.stack([canvas.grid_latent(tokens, patch) for tokens in outputs])

        @torch.inference_mode()
        def theirs() -> Tensor:
            inputs = [(canvas.grid_latent(x, patch)[None], torch.full((1,), 1000 * sigma)) for x, sigma in noised]
            return torch.cat([peer(x, time, prompt.context[None], return_dict=False)[0] for x, time in inputs])

        name = f"{len(noised)} predictions, trained, {len(clean)} tokens"
        if int8:
            return Benchmark(f"{name}, int8", predict, theirs, 1e-2, 1.0, difference=relative_difference)
        return self._benchmark(name, predict, theirs, 1e-4, 1.0)

    def images(self) -> Benchmark:
        """One forward pass over four images with a prompt each; ours has cached the prompts' keys and values."""
        ours, peer = self.networks.transformers()
        side = self.scale.image // 8
        latents = torch.randn(4, 16, 1, side, side, generator=torch.Generator().manual_seed(2)).to(
            self.device, self.dtype
        )
        states = RandomStates(self.scale.text_width, latents).states[PROMPT]
        texts = torch.stack([states.roll(shift, dims=1) for shift in range(4)])
        packed = pack([_sample(latent, text) for latent, text in zip(latents, texts, strict=True)])
        with torch.inference_mode():
            cache = ours.prepare(packed)

        @torch.inference_mode()
        def predict() -> Tensor:
            tokens = unpack(ours(packed, cache), packed.lengths)
            return torch.stack([unpatchify(one, (1, side // 2, side // 2)) for one in tokens]).float()

        @torch.inference_mode()
        def theirs() -> Tensor:
            return peer(latents, torch.full((4,), 700.0, device=self.device), texts, return_dict=False)[0].float()

        flops = 4 * self._flops(ours, side * side // 4, PROMPT)
        return self._benchmark(f"4 images of {side * side // 4} tokens", predict, theirs, 1e-4, 1.5, flops)

    def decode(self, base: int, *, int8: bool = False) -> Benchmark:
        """Decode 17 frames of 128 x 128; at the tiny scale 5 of 32 x 32."""
        ours, peer = self.networks.codecs(base)
        frames, edge = self._clip
        latent = _noise((1, 16, 1 + (frames - 1) // 4, edge // 8, edge // 8), seed=3).to(self.device)
        name = f"decode {frames}x{edge}x{edge}, base {base}"
        work = partial(_decode, ours, latent), partial(_decode_by_peer, peer, latent)
        if int8:
            quantize_(ours, ours.int8_rules)
            return Benchmark(f"{name}, int8", *work, 2e-2, 4.0, difference=root_mean_square)
        return self._benchmark(name, *work, 1e-4, 2.6 if base < 96 else 2.0)

    def length(self) -> Benchmark:
        """Decode a minute of small frames."""
        ours, peer = self.networks.codecs(base=8)
        num_frames, edge = self.scale.lengths[1], self.scale.long_edge
        latent = _noise((1, 16, 1 + (num_frames - 1) // 4, edge // 8, edge // 8), seed=6)
        work = partial(_decode, ours, latent), partial(_decode_by_peer, peer, latent)
        return self._benchmark(f"decode {num_frames}x{edge}x{edge}, base 8", *work, 1e-4, 5.0)

    def decoding(self, backend: Backend, num_frames: int) -> Callable[[], object]:
        """A function that decodes a number of frames once: ours streams them, the peer decodes all at once."""
        ours, peer = self.networks.codecs(base=8)
        edge = self.scale.long_edge
        latent = _noise((16, 1 + (num_frames - 1) // 4, edge // 8, edge // 8), seed=6)
        if backend == "ours":
            return lambda: sum(len(frames) for frames in decode_frames(ours, latent, edge, edge, num_frames))
        return partial(_decode_by_peer, peer, latent[None])

    def encode(self, base: int) -> Benchmark:
        """Encode the frames of `decode`."""
        ours, peer = self.networks.codecs(base)
        frames, edge = self._clip
        pixels = torch.rand(1, 3, frames, edge, edge, generator=torch.Generator().manual_seed(4)).to(self.device)
        pixels = pixels * 2 - 1

        @torch.inference_mode()
        def encode() -> Tensor:
            chunks = (pixels[:, :, start:stop] for start, stop in chunk_spans(frames, 4))
            return torch.cat(list(encode_stream(ours, chunks)), dim=2)

        @torch.inference_mode()
        def theirs() -> Tensor:
            return peer.encode(pixels, return_dict=False)[0].mean

        goal = 2.2 if base < 96 else 1.5
        return self._benchmark(f"encode {frames}x{edge}x{edge}, base {base}", encode, theirs, 1e-4, goal)

    def training(self) -> Benchmark:
        """Forward and backward pass over images and clips: ours in one pack, the peer in batches of equal shape."""
        ours, peer = self.networks.transformers()
        ours.requires_grad_(True)
        peer.requires_grad_(True)
        unit = max(2, self.scale.image // 32)  # patches along the edge of the smallest image
        grids = [(1, 2 * unit, 2 * unit)] * 4 + [(1, 2 * unit, 4 * unit)] * 4 + [(1, 4 * unit, 4 * unit)] * 4
        grids += [(5, 2 * unit, 2 * unit)] * 2 + [(13, 2 * unit, 2 * unit)] * 2
        generator = torch.Generator().manual_seed(5)
        latents = [torch.randn(16, *grid, generator=generator).to(self.device, self.dtype) for grid in grids]
        states = RandomStates(self.scale.text_width, latents[0]).states[PROMPT]
        texts = [states.roll(number, dims=1) for number in range(len(grids))]

        def step() -> Tensor:
            packed = pack([_sample(latent, text) for latent, text in zip(latents, texts, strict=True)])
            loss = (ours(packed).float() - packed.tokens.float()).square().sum()
            return _gradient(loss, ours.patch_in.weight)

        def theirs() -> Tensor:
            buckets = defaultdict(list)
            for latent, text in zip(latents, texts, strict=True):
                buckets[latent.shape].append((latent, text))
            loss = torch.zeros((), device=self.device)
            for bucket in buckets.values():
                noisy, text = (torch.stack(column) for column in zip(*bucket, strict=True))
                time = torch.full((len(noisy),), 700.0, device=self.device)
                output = peer(noisy, time, text, return_dict=False)[0]
                loss = loss + (output.float() - noisy.float()).square().sum()
            return _gradient(loss, peer.patch_embedding.weight).flatten(1)

        tokens = sum(math.prod(grid) // 4 for grid in grids)
        flops = sum(3 * self._flops(ours, math.prod(grid) // 4, PROMPT, cached=False) for grid in grids)
        return self._benchmark(f"training on 12 images, 4 clips: {tokens} tokens", step, theirs, 1e-3, 1.6, flops)

    @property
    def _clip(self) -> tuple[int, int]:
        """Frames and edge of the clip that is encoded and decoded."""
        return (17, 128) if self.scale.height >= 128 else (5, 32)

    def _benchmark(self, name: str, ours: Work, peer: Work, tolerance: float, goal: float, flops: int = 0) -> Benchmark:
        half = self.dtype != torch.float32
        return Benchmark(name, ours, peer, 0.1 if half else tolerance, goal, flops)

    def _flops(self, network: Transformer, tokens: int, prompt: str, *, cached: bool = True) -> int:
        """FLOPs of our forward pass, which treats a prompt's padding as one state."""
        return num_flops(network.config, [tokens], [tokens], [NUM_WORDS[prompt] + 1], 1, text_cached=cached)


def supports_int8() -> bool:
    """True if this processor and this PyTorch compute correctly in 8 bits."""
    try:
        check_eight_bit()
    except VitascopeError:
        return False
    return True


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def _decode(codec: VideoCodec, latent: Float[Tensor, "1 c t h w"]) -> Float[Tensor, "1 3 t2 h2 w2"]:
    """The pixels of a latent, decoded in the pipeline's chunks."""
    chunks = (latent[:, :, start:stop] for start, stop in latent_spans(0, *latent.shape[2:]))
    return torch.cat(list(decode_stream(codec, chunks)), dim=2).clamp_(-1, 1)


@torch.inference_mode()
def _decode_by_peer(peer: Any, latent: Float[Tensor, "1 c t h w"]) -> Float[Tensor, "1 3 t2 h2 w2"]:
    return peer.decode(latent, return_dict=False)[0]


def _sample(latent: Float[Tensor, "c t h w"], text: Float[Tensor, "l e"]) -> Sample:
    context, counts = distinct_states(text)
    group = token_group(latent, fps=FPS, reference_fps=FPS)
    return make_sample([group], torch.full((latent.shape[1],), 0.7), context, context_counts=counts)


def _gradient(loss: Tensor, weight: Tensor) -> Tensor:
    """A weight's gradient after a full backward pass, relative to its own largest value."""
    weight.grad = None
    loss.backward()
    assert weight.grad is not None
    return weight.grad / weight.grad.abs().max()
