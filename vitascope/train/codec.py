"""Training of the video compression network: `vitascope train codec CONFIG`."""

from __future__ import annotations

import copy
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitascope.codec.losses import (
    Discriminator,
    PerceptualDistance,
    adversarial_weight,
    discriminator_loss,
    kl_divergence,
)
from vitascope.codec.network import Codec, CodecConfig, Stride
from vitascope.codec.quality import psnr, ssim
from vitascope.codec.streaming import encode_video, reconstruct, to_signal
from vitascope.config import Config, load_config
from vitascope.data.clips import Clip, Reader, list_clips, pick, split_validation
from vitascope.errors import DatasetError
from vitascope.hub.registry import load_codec
from vitascope.hub.weights import copy_weights, save_network
from vitascope.train.optimizer import descend, load_optimizer_tensors, make_optimizers, optimizer_tensors
from vitascope.train.run import Checkpoint, Run, RunConfig, step_generator, update_ema
from vitascope.video import Video, contact_sheet, write_video

DISCRIMINATOR_RATE = 1e-4
NUM_FITTED = 300  # clips that the linear path is fitted to
NUM_MEASURED = 256  # clips whose latents give the statistics
MAX_DRAWS = 1000  # of clips in a row for one batch, all of which can't be read


class LossConfig(Config):
    """Weights of the terms. The adversary joins at `adversarial_from` of the steps, if its weight isn't 0."""

    perceptual: float = Field(default=0.1, ge=0)
    kl: float = Field(default=1e-5, ge=0)
    adversarial: float = Field(default=0.0, ge=0)
    adversarial_from: float = Field(default=0.8, ge=0, le=1)


class CodecTrainConfig(RunConfig):
    """A codec's training run. `batch_clips` is the number of the longest clips in a batch, `crop` is in pixels.

    `loudness` says how much louder the latent channels that matter most shall be, see `channel_gain`. `init` is the
    folder of a codec to begin with. `decoder_only` leaves its encoder and its latents' statistics as they are, so
    that transformers trained on them stay valid; the posterior's term has no part then.
    """

    batch_clips: int = Field(default=4, ge=1, le=1024)
    num_frames: tuple[int, ...] = Field(default=(1, 5, 9, 17), min_length=1)
    crop: int = Field(default=64, ge=16, le=1024)
    loudness: float = Field(default=0.0, ge=0, le=1)
    init: str = ""
    decoder_only: bool = False
    loss: LossConfig = LossConfig()
    codec: CodecConfig = CodecConfig()

    @model_validator(mode="after")
    def _has_an_encoder(self) -> CodecTrainConfig:
        if self.decoder_only and not self.init:
            raise ValueError("decoder_only needs init, the folder of the codec whose encoder stays")
        return self


class ClipBatches:
    """Batches of equal shape, drawn with a generator: frames in [-1, 1], cropped at random in time and space."""

    def __init__(self, clips: Sequence[Clip], config: CodecTrainConfig, stride: Stride, reader: Reader):
        self.config, self.stride, self.reader = config, stride, reader
        self.by_shape: dict[tuple[int, int], list[Clip]] = defaultdict(list)
        for clip in clips:
            height, width = min(clip.height, config.crop), min(clip.width, config.crop)
            self.by_shape[height - height % stride.rows, width - width % stride.columns].append(clip)
        self.shapes = sorted(self.by_shape)
        self.shares = torch.tensor([len(self.by_shape[shape]) for shape in self.shapes], dtype=torch.float64)

    def draw(self, generator: torch.Generator) -> Float[Tensor, "b 3 t h w"]:
        """A batch of clips of one shape; batches of fewer frames hold more clips.

        Raises:
            DatasetError: too many clips that can't be read.
        """
        lengths = self.config.num_frames
        wanted = lengths[int(torch.randint(len(lengths), (1,), generator=generator))]
        shape = self.shapes[int(torch.multinomial(self.shares, 1, generator=generator))]
        pool = [clip for clip in self.by_shape[shape] if clip.num_frames >= wanted] or self.by_shape[shape]
        num_frames = min(wanted, min(clip.num_frames for clip in pool))
        num_frames -= (num_frames - 1) % self.stride.time
        num_clips = max(1, round(self.config.batch_clips * max(lengths) / (num_frames + 3)))
        videos = islice(self.reader.read_all(self._endless(pool, generator)), num_clips)
        return torch.cat([to_signal(self._crop(video, num_frames, shape, generator)) for video in videos])

    def _endless(self, pool: Sequence[Clip], generator: torch.Generator) -> Iterator[Clip]:
        for _ in range(MAX_DRAWS):
            yield pool[int(torch.randint(len(pool), (1,), generator=generator))]
        raise DatasetError(f"none of {MAX_DRAWS} clips of one shape in a row can be read; {self.reader}")

    def _crop(self, video: Video, num_frames: int, shape: tuple[int, int], generator: torch.Generator) -> np.ndarray:
        height, width = shape
        slack = (video.num_frames - num_frames, video.height - height, video.width - width)
        start, top, left = (int(torch.randint(room + 1, (1,), generator=generator)) for room in slack)
        return video.frames[start : start + num_frames, top : top + height, left : left + width]


class CodecTrainer:
    """The networks of a codec run, and one step of it."""

    def __init__(self, config: CodecTrainConfig):
        self.config = config
        torch.manual_seed(config.seed)  # initial weights; every later draw has a generator of its own
        self.model = Codec(config.codec)
        nn.utils.convert_conv3d_weight_memory_format(self.model, torch.channels_last_3d)  # oneDNN's fast path on a CPU
        if config.init:
            copy_weights(self.model, load_codec(Path(config.init)), config.init)
        if config.decoder_only:
            for fixed in (self.model.encoder, self.model.to_moments):
                fixed.requires_grad_(False)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.perceptual = PerceptualDistance() if config.loss.perceptual else None
        self.optimizers = make_optimizers(
            self.model, config.learning_rate, _is_hidden, getattr(torch, config.precision)
        )
        self.discriminator = Discriminator() if config.loss.adversarial else None
        if self.discriminator is not None:
            parameters = self.discriminator.parameters()
            self.discriminator_optimizer = torch.optim.AdamW(parameters, lr=DISCRIMINATOR_RATE, betas=(0.5, 0.9))

    def start(self, videos: Iterable[Video]) -> None:
        """Fit the linear path to these, if there is one, and let the network begin with nothing to add to it."""
        if self.model.linear_path is None or self.config.init:
            return
        path, (time, rows, columns) = self.model.linear_path, self.model.stride
        signals = [to_signal(video.frames) for video in videos]
        whole = [v[..., : v.shape[3] // rows * rows, : v.shape[4] // columns * columns] for v in signals]
        first = [path.blocks(v[:, :, :1], 1).flatten(0, 3) for v in whole]
        rest = [path.blocks(v[:, :, 1 : 1 + (v.shape[2] - 1) // time * time], time).flatten(0, 3) for v in whole]
        path.fit(torch.cat(first), torch.cat(rest))
        assert self.model.to_moments.bias is not None
        with torch.no_grad():
            for last_layer in (self.model.encoder.conv_out, self.model.decoder.conv_out):
                for parameter in last_layer.parameters():
                    parameter.zero_()
            self.model.to_moments.bias[: self.model.latent_channels] = 0
        self.ema.load_state_dict(self.model.state_dict())

    def step(self, step: int, pixels: Float[Tensor, "b 3 t h w"], generator: torch.Generator) -> dict[str, float]:
        """Train on one batch; the terms of the loss, unweighted."""
        config = self.config
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            mean, log_variance = self.model.encode_moments(pixels.contiguous(memory_format=torch.channels_last_3d))
            noise = torch.randn(mean.shape, generator=generator)
            output = self.model.decode_raw(mean + (0.5 * log_variance).exp() * noise).float()
        mean, log_variance = mean.float(), log_variance.float()
        terms = {"l1": (output - pixels).abs().mean(), "kl": kl_divergence(mean, log_variance)}
        reconstruction = terms["l1"]
        if self.perceptual is not None:
            frames = torch.randint(pixels.shape[2], (min(2, pixels.shape[2]),), generator=generator)
            terms["perceptual"] = self.perceptual(output[:, :, frames], pixels[:, :, frames])
            reconstruction = reconstruction + config.loss.perceptual * terms["perceptual"]
        loss = reconstruction if config.decoder_only else reconstruction + config.loss.kl * terms["kl"]
        adversary = self.discriminator if step >= config.loss.adversarial_from * config.steps else None
        if adversary is not None:
            terms["adversarial"] = -adversary(output).mean()
            last_layer = self.model.decoder.conv_out.weight
            weight = adversarial_weight(reconstruction, terms["adversarial"], last_layer)
            loss = loss + config.loss.adversarial * weight * terms["adversarial"]
        descend(loss, self.model, self.optimizers, config.rate(step), step)
        if adversary is not None:
            terms["discriminator"] = discriminator_loss(adversary(pixels), adversary(output.detach()))
            descend(terms["discriminator"], adversary, [self.discriminator_optimizer], DISCRIMINATOR_RATE, step)
        update_ema(self.ema, self.model, config.ema_decay, step)
        return {name: term.item() for name, term in terms.items()}

    def checkpoint(self, step: int) -> Checkpoint:
        """All that resuming needs."""
        tensors = {"model": self.model.state_dict(), "ema": self.ema.state_dict()}
        tensors |= {f"optimizer_{i}": optimizer_tensors(optimizer) for i, optimizer in enumerate(self.optimizers)}
        if self.discriminator is not None:
            tensors["discriminator"] = self.discriminator.state_dict()
            tensors["discriminator_optimizer"] = optimizer_tensors(self.discriminator_optimizer)
        return Checkpoint(step, {name: tensors[name] for name in tensors if tensors[name]}, {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to a checkpoint's state."""
        self.model.load_state_dict(checkpoint.tensors["model"])
        self.ema.load_state_dict(checkpoint.tensors["ema"])
        for i, optimizer in enumerate(self.optimizers):
            load_optimizer_tensors(optimizer, checkpoint.tensors[f"optimizer_{i}"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(checkpoint.tensors["discriminator"])
            load_optimizer_tensors(self.discriminator_optimizer, checkpoint.tensors.get("discriminator_optimizer", {}))


def train(config_path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Train a codec, or go on training it; the folder of the finished network.

    Raises:
        ConfigError: a config that can't be used, or a run folder made with another one.
        DatasetError: no clips, or too few.
    """
    config = load_config(config_path, CodecTrainConfig, overrides)
    clips, validation = split_validation(list_clips(config.data), config.num_validation)
    trainer = CodecTrainer(config)  # first: a run whose networks can't be made leaves no folder
    run = Run(out, config)
    reader = Reader(len(clips) + len(validation), config.max_bad_share)
    batches, first_step = ClipBatches(clips, config, trainer.model.stride, reader), 0
    checkpoint = run.resume()
    if checkpoint is None:
        trainer.start(reader.read_all(pick(clips, NUM_FITTED, config.seed)))
    else:
        trainer.restore(checkpoint)
        first_step = checkpoint.step

    def step(number: int) -> dict[str, float]:
        generator, began = step_generator(config.seed, number), time.monotonic()
        figures = trainer.step(number, batches.draw(generator), generator)
        return {**figures, "seconds": time.monotonic() - began}

    run.train(
        first_step,
        step=step,
        validate=lambda picture: validate(trainer.ema, list(reader.read_all(validation)), picture),
        checkpoint=trainer.checkpoint,
    )
    measured = reader.read_all(pick(clips, NUM_MEASURED, config.seed))
    folder = finish(trainer.ema, measured, run.folder / "vae", config)
    if reader.problems:
        print(f"left out: {reader}", file=sys.stderr)
    return folder


def validate(codec: Codec, originals: Sequence[Video], picture: Path) -> dict[str, float]:
    """Mean PSNR and SSIM on videos kept from training, and a picture of originals above their reconstructions."""
    copies = [reconstruct(codec, video) for video in originals]
    pairs = list(zip(originals, copies, strict=True))
    shown = [video for pair in pairs[:8] for video in pair]
    write_video(contact_sheet(shown, columns=2, frames_per_video=5), picture)
    return {
        "psnr": float(np.mean([psnr(a.frames, b.frames) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a.frames, b.frames) for a, b in pairs])),
    }


def finish(codec: Codec, videos: Iterable[Video], folder: Path, config: CodecTrainConfig) -> Path:
    """Measure the latents' mean and deviation per channel on training videos and save the codec that uses them.

    With `decoder_only` the statistics are those of `init`.

    Raises:
        DatasetError: a channel that never varies, which no statistics can normalise.
    """
    if config.decoder_only:
        save_network(codec, load_codec(Path(config.init), weights=False).config, folder)
        return folder
    latents = torch.cat([encode_video(codec, video).flatten(1) for video in videos], dim=1)
    deviation = latents.std(dim=1)
    if not (deviation > 1e-4).all():
        raise DatasetError("a latent channel is constant: train longer, or with fewer latent channels")
    statistics = {
        "latent_mean": tuple(latents.mean(dim=1).tolist()),
        "latent_std": tuple((deviation / channel_gain(codec, config.loudness)).tolist()),
    }
    save_network(codec, codec.config.model_copy(update=statistics), folder)
    return folder


def channel_gain(codec: Codec, loudness: float) -> Float[Tensor, " c"]:
    """The deviation each normalised latent channel shall have; their mean square is 1.

    With loudness 0, or without a linear path, all are 1. Otherwise a channel's is its effect on pixels, as far as the
    linear path goes, to that power: what a person would miss most then counts most in the transformer's loss.
    """
    if codec.linear_path is None:
        return torch.ones(codec.latent_channels)
    effect = codec.linear_path.decode_rest.weight.norm(dim=0) ** loudness
    return effect / effect.square().mean().sqrt()


def _is_hidden(name: str) -> bool:
    return not any(edge in name for edge in ("conv_in", "conv_out", "to_moments", "from_latent", "linear_path"))
