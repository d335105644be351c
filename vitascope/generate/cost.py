"""The cost of a video: memory and arithmetic, computed from the networks' shapes without running them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from vitascope.codec.streaming import (
    LIVE_MAPS,
    fitting_tiling,
    largest_map_bytes,
    latent_shape,
    latent_spans,
    meta_copy,
    overlaps_chunks,
)
from vitascope.codec.video_codec import VideoCodec
from vitascope.kernels.device import CPU, META
from vitascope.kernels.int8 import num_weight_bytes, num_weights
from vitascope.kernels.threads import can_run_pairs
from vitascope.model.text import PromptEncoder
from vitascope.model.transformer import Transformer, num_flops

if TYPE_CHECKING:
    from vitascope.generate.pipeline import Pipeline

# Fitted to the peak memory of the bundled model's process at several sizes, see docs/interop.md.
LIVE_WIDTHS = 12  # transformer memory per token: this many widths, plus two MLP widths
RUNTIME_BYTES = 400 << 20  # Python, PyTorch and this package


@dataclass(frozen=True)
class Cost:
    """Bytes and floating-point operations (2 per multiply-add) of one video, the encoding of text left out."""

    weight_bytes: int
    working_bytes: int  # an estimate, within about a third
    flops: int

    @property
    def num_bytes(self) -> int:
        """Total memory."""
        return self.weight_bytes + self.working_bytes

    def card(self) -> dict[str, float]:
        """Figures for a model card, to three digits. Without a time: it depends on the machine's other programs."""
        figures = {
            "GiB of weights": self.weight_bytes / 2**30,
            "GiB of memory, about": self.num_bytes / 2**30,
            "TFLOP": self.flops / 1e12,
        }
        return {name: float(f"{figure:.3g}") for name, figure in figures.items()}


def cost_of(
    codec: VideoCodec,
    transformer: Transformer,
    text_encoder: PromptEncoder,
    num_passes: int,
    *,
    height: int,
    width: int,
    num_frames: int,
    passes_at_once: int = 1,
) -> Cost:
    """The cost of a video of this size, with `num_passes` forward passes of the transformer, some of them at once.

    The memory is that of the longest prompt, the operations those of the shortest.
    """
    frames, rows, columns = latent_shape(codec, num_frames, height, width)
    config = transformer.config
    sides = zip((frames, rows, columns), config.patch, strict=True)
    tokens = math.prod(-(-side // step) for side, step in sides)
    pass_flops = num_flops(config, [tokens], [tokens], [text_encoder.min_tokens], num_sigmas=2, text_cached=True)
    decoding_flops, map_bytes = _decoding(codec, frames, rows, columns)

    element = next(transformer.parameters()).element_size()
    denoising = passes_at_once * tokens * (LIVE_WIDTHS * config.width + 2 * config.ffn_width) * element
    text_cache = 2 * 2 * config.num_layers * text_encoder.max_tokens * config.width * element  # of two prompts
    pixels = 3 * height * width * num_frames
    return Cost(
        weight_bytes=text_encoder.num_bytes + num_weight_bytes(transformer) + num_weight_bytes(codec),
        # a sum: the allocator keeps what denoising took while frames are decoded
        working_bytes=denoising + text_cache + LIVE_MAPS * map_bytes + pixels + RUNTIME_BYTES,
        flops=num_passes * pass_flops + decoding_flops,
    )


def cost_of_pipeline(pipeline: Pipeline) -> Cost:
    """The cost of a video of a pipeline's default size, on a machine like this one."""
    config = pipeline.config
    size = {"height": config.height, "width": config.width, "num_frames": config.num_frames}
    at_once = 2 if config.guidance != 1 and can_run_pairs(pipeline.device) else 1
    networks = (pipeline.codec, pipeline.transformer, pipeline.text_encoder)
    return cost_of(*networks, pipeline.num_passes(), passes_at_once=at_once, **size)


def card_of(pipeline: Pipeline) -> dict[str, object]:
    """A pipeline's model card, see `Pipeline.card`."""
    count = {
        "transformer": num_weights(pipeline.transformer),
        "codec": num_weights(pipeline.codec),
        "text encoder": pipeline.text_encoder.num_parameters,
    }
    return {
        **pipeline.config.model_dump(),
        "parameters": count,
        "stride": tuple(pipeline.codec.stride),
        "a video takes": pipeline.cost().card(),
    }


def _decoding(codec: VideoCodec, frames: int, rows: int, columns: int) -> tuple[int, int]:
    """FLOPs of decoding a latent, and bytes of the largest feature maps at a time, found on the meta device."""
    tiling = fitting_tiling(codec, rows, columns, CPU)
    row_spans, column_spans = tiling.spans(rows), tiling.spans(columns)
    tile = row_spans[0][1], column_spans[0][1]
    empty = meta_copy(codec)
    flops = {}
    spans = latent_spans(0, frames, *tile)
    chunk = max(stop - start for start, stop in spans)
    for length in {chunk, 1}:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            empty.decode(torch.empty(1, codec.latent_channels, length, *tile, device=META))
        flops[length] = counter.get_total_flops()
    # the first latent frame decodes to one frame, each later one to `stride.time` frames
    chunks_at_once = 2 if len(spans) > 1 and overlaps_chunks(codec, math.prod(tile), CPU) else 1
    later = (flops[chunk] - flops[1]) / (chunk - 1) if chunk > 1 else 0.0
    total = (flops[1] + later * (frames - 1)) * len(row_spans) * len(column_spans)
    return round(total), chunks_at_once * largest_map_bytes(codec, chunk, *tile)
