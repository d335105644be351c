"""Training of the video compression network: `vitascope train codec CONFIG`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitascope.codec.losses import (
    Discriminator,
    PerceptualDistance,
    adversarial_weight,
    discriminator_loss,
    kl_divergence,
)
from vitascope.codec.network import Codec, CodecConfig
from vitascope.codec.patch_codec import PatchCodec, PatchCodecConfig
from vitascope.codec.quality import psnr, ssim
from vitascope.codec.streaming import encode_video, reconstruct, to_signal
from vitascope.codec.video_codec import Stride, TrainableCodec, VideoCodec
from vitascope.config import Config, load_config
from vitascope.data.clips import Clip, Reader, pick
from vitascope.data.maps import maps_path, read_maps
from vitascope.errors import DatasetError
from vitascope.hub.registry import find_part, load_codec
from vitascope.hub.weights import copy_weights, save_network
from vitascope.kernels.device import device_of
from vitascope.progress import announce, with_progress
from vitascope.train.loop import Figures, Loss, Trainer
from vitascope.train.run import Compute, RunConfig, read_dataset, seeded
from vitascope.video import Video, contact_sheet, write_video

NUM_FITTED = 300  # number of clips to fit the linear path to
NUM_MEASURED = 256  # number of clips for the final latent statistics
NUM_MEASURED_EARLY = 16  # number of validation clips for a checkpoint's latent statistics
MAX_DRAWS = 1000  # attempts to read clips for one batch
MIN_DEVIATION = 1e-4  # smallest standard deviation of a latent channel that varies


class LossConfig(Config):
    """Weights of the loss terms; the mean absolute error of pixels has weight 1.

    Pixels of actors count `actors` times in the absolute and the squared error, in clips with owner masks
    (`vitascope render --truth masks`). The adversarial term starts after a share `adversarial_from` of the steps.
    """

    squared: float = Field(default=0.0, ge=0)
    actors: float = Field(default=1.0, ge=1)
    perceptual: float = Field(default=0.1, ge=0)
    kl: float = Field(default=1e-5, ge=0)
    adversarial: float = Field(default=0.0, ge=0)
    adversarial_from: float = Field(default=0.8, ge=0, le=1)


class CodecTrainConfig(RunConfig):
    """Settings of a codec run.

    A batch of the longest clips holds `batch_clips` clips; batches of shorter clips hold more. `crop` is
    in pixels. `channel_gain_power` scales latent channels by their effect on pixels, see `channel_gain`. `init` is a
    codec's folder to start from. `decoder_only` freezes its encoder and statistics, so that transformers trained on
    its latents stay valid; the KL term is then off. The section `codec` describes a convolutional codec; with a section
    `patch_codec`, a patch codec is trained instead.
    """

    batch_clips: int = Field(default=4, ge=1, le=1024)
    num_frames: tuple[int, ...] = Field(default=(1, 5, 9, 17), min_length=1)
    crop: int = Field(default=64, ge=16, le=1024)
    channel_gain_power: float = Field(default=0.0, ge=0, le=1)
    init: str = ""
    decoder_only: bool = False
    loss: LossConfig = LossConfig()
    codec: CodecConfig = CodecConfig()
    patch_codec: PatchCodecConfig | None = None

    @model_validator(mode="after")
    def _has_an_encoder(self) -> CodecTrainConfig:
        if self.decoder_only and not self.init:
            raise ValueError("decoder_only needs init: give the folder of a trained codec")
        return self


@dataclass(frozen=True)
class CodecBatch:
    """Clips of one shape in [-1, 1]. `is_actor` is 1 in the pixels of actors, and 0 in clips without owner masks."""

    pixels: Float[Tensor, "b 3 t h w"]
    ids: tuple[str, ...] = ()
    is_actor: Float[Tensor, "b 1 t h w"] | None = None


class ClipBatches:
    """Draws batches of clips of equal shape, cropped at random in time and space."""

    def __init__(self, clips: Sequence[Clip], config: CodecTrainConfig, stride: Stride, reader: Reader):
        self.config, self.stride, self.reader = config, stride, reader
        self.by_shape: dict[tuple[int, int], list[Clip]] = defaultdict(list)
        for clip in clips:
            height, width = min(clip.height, config.crop), min(clip.width, config.crop)
            self.by_shape[height - height % stride.rows, width - width % stride.columns].append(clip)
        self.shapes = sorted(self.by_shape)
        self.shares = torch.tensor([len(self.by_shape[shape]) for shape in self.shapes], dtype=torch.float64)

    def draw(self, generator: torch.Generator) -> CodecBatch:
        """Batch of clips of one shape. Batches of fewer frames hold more clips.

        Raises:
            DatasetError: too many unreadable clips.
        """
        lengths = self.config.num_frames
        wanted = lengths[int(torch.randint(len(lengths), (1,), generator=generator))]
        shape = self.shapes[int(torch.multinomial(self.shares, 1, generator=generator))]
        pool = [clip for clip in self.by_shape[shape] if clip.num_frames >= wanted] or self.by_shape[shape]
        num_frames = min(wanted, min(clip.num_frames for clip in pool))
        num_frames -= (num_frames - 1) % self.stride.time
        num_clips = max(1, round(self.config.batch_clips * max(lengths) / (num_frames + 3)))
        read = ((clip, self.reader.read(clip)) for clip in self._endless(pool, generator))
        readable = ((clip, video) for clip, video in read if video is not None)
        ids, signals, actors = [], [], []
        for clip, video in islice(readable, num_clips):
            crop = self._crop(video, num_frames, shape, generator)
            ids.append(clip.id)
            signals.append(to_signal(video.frames[crop]))
            if self.config.loss.actors > 1:
                actors.append(torch.from_numpy(owner_mask(clip, video)[crop] > 0))
        is_actor = torch.stack(actors).unsqueeze(1).float() if actors else None
        return CodecBatch(torch.cat(signals), tuple(ids), is_actor)

    def _endless(self, pool: Sequence[Clip], generator: torch.Generator) -> Iterator[Clip]:
        for _ in range(MAX_DRAWS):
            yield pool[int(torch.randint(len(pool), (1,), generator=generator))]
        raise DatasetError(f"{MAX_DRAWS} clips of one shape in a row are unreadable; {self.reader}")

    def _crop(
        self, video: Video, num_frames: int, shape: tuple[int, int], generator: torch.Generator
    ) -> tuple[slice, slice, slice]:
        """A random range of frames, rows and columns."""
        height, width = shape
        slack = (video.num_frames - num_frames, video.height - height, video.width - width)
        start, top, left = (int(torch.randint(room + 1, (1,), generator=generator)) for room in slack)
        return slice(start, start + num_frames), slice(top, top + height), slice(left, left + width)


def owner_mask(clip: Clip, video: Video) -> UInt8[np.ndarray, "t h w"]:
    """Owner of each pixel of a clip: 0 is the background, also everywhere in a clip without masks.

    Raises:
        DatasetError: the file of masks is damaged, or of another size than the clip.
    """
    path = maps_path(clip.path)
    if clip.member is not None or not path.is_file():
        return np.zeros(video.frames.shape[:3], np.uint8)
    masks = read_maps(path).masks
    if masks is None:
        return np.zeros(video.frames.shape[:3], np.uint8)
    masks = masks[slice(*clip.part)] if clip.part else masks[: video.num_frames]
    if masks.shape != video.frames.shape[:3]:
        raise DatasetError(
            f"{path} holds masks of {masks.shape}, its clip is {video.frames.shape[:3]}; render it again"
        )
    return masks


class CodecTask:
    """Training of a codec, for `Trainer`."""

    name = "codec"

    def __init__(self, config: CodecTrainConfig, clips: Sequence[Clip], validation: Sequence[Clip] = ()):
        self.config, self.compute = config, Compute.of(config)
        self.clips, self.validation = clips, validation
        self.reader = Reader(len(clips) + len(validation), config.max_bad_share)
        with seeded(config.seed):
            self.model = Codec(config.codec) if config.patch_codec is None else PatchCodec(config.patch_codec)
            self.perceptual = PerceptualDistance().to(self.compute.device) if config.loss.perceptual else None
            self.adversary = Discriminator() if config.loss.adversarial else None
        nn.utils.convert_conv3d_weight_memory_format(self.model, torch.channels_last_3d)  # oneDNN's fast path on a CPU
        if config.init:
            copy_weights(self.model, load_codec(find_part(config.init, "vae")), config.init)
        if config.decoder_only:
            for frozen in self.model.encoder_parts:
                frozen.requires_grad_(False)
        self.networks: dict[str, nn.Module] = {"model": self.model}

    def is_hidden(self, name: str) -> bool:
        """True if a parameter belongs to a hidden layer, not next to pixels or latents."""
        return not any(edge in name for edge in self.model.edge_layers)

    def prepare(self) -> None:
        """Sort the clips by shape."""
        self.batches = ClipBatches(self.clips, self.config, self.model.stride, self.reader)

    def start(self) -> None:
        """Fit the linear path, if there is one, and zero the network's last layers, so that it starts as that path."""
        if self.model.linear_path is None or self.config.init:
            return
        picked = pick(self.clips, NUM_FITTED, self.config.seed)
        clips = with_progress("reading clips for the linear path", picked, at_once=True)
        fit_linear_path(self.model, self.reader.read_all(clips))

    def batch(self, generator: torch.Generator) -> CodecBatch:
        """Next batch, drawn with the generator."""
        return self.batches.draw(generator)

    def loss(self, batch: CodecBatch, step: int, generator: torch.Generator) -> Loss:
        """Weighted sum of the terms; as figures the terms without weights."""
        config, pixels = self.config.loss, batch.pixels
        with self.compute.autocast():
            mean, log_variance = self.model.encode_moments(pixels.contiguous(memory_format=torch.channels_last_3d))
            noise = torch.randn(mean.shape, generator=generator).to(self.compute.device)
            output = self.model.decode_raw(mean + (0.5 * log_variance).exp() * noise).float()
        mean, log_variance = mean.float(), log_variance.float()
        error = output - pixels
        weight = 1.0 if batch.is_actor is None else 1.0 + (config.actors - 1.0) * batch.is_actor
        terms = {"l1": (weight * error.abs()).mean(), "kl": kl_divergence(mean, log_variance)}
        reconstruction = terms["l1"]
        if config.squared:
            terms["squared"] = (weight * error.square()).mean()
            reconstruction = reconstruction + config.squared * terms["squared"]
        if self.perceptual is not None:
            frames = torch.randint(pixels.shape[2], (min(2, pixels.shape[2]),), generator=generator).tolist()
            terms["perceptual"] = self.perceptual(output[:, :, frames], pixels[:, :, frames])
            reconstruction = reconstruction + config.perceptual * terms["perceptual"]
        total = reconstruction if self.config.decoder_only else reconstruction + config.kl * terms["kl"]
        if self.adversary is not None and step >= config.adversarial_from * self.config.steps:
            terms["adversarial"] = self._adversarial(self.adversary, output)
            balance = adversarial_weight(reconstruction, terms["adversarial"], self.model.last_weight)
            total = total + config.adversarial * balance * terms["adversarial"]
            terms["discriminator"] = discriminator_loss(self.adversary(pixels), self.adversary(output.detach()))
        values = {name: term.detach() for name, term in terms.items()}
        return Loss(
            total,
            figures=lambda: {name: value.item() for name, value in values.items()},
            weight=pixels.numel(),
            adversary=terms.get("discriminator"),
        )

    def _adversarial(self, adversary: Discriminator, output: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, ""]:
        """The codec's adversarial loss, which has no gradient for the adversary's own weights."""
        adversary.requires_grad_(False)
        loss = -adversary(output).mean()
        adversary.requires_grad_(True)
        return loss

    def validate(self, ema: nn.Module, picture: Path) -> Figures:
        """PSNR and SSIM on the validation clips, and a picture of originals next to their reconstructions."""
        assert isinstance(ema, TrainableCodec)
        clips = with_progress("reading validation clips", self.validation, at_once=True)
        return validate(ema, list(self.reader.read_all(clips)), picture)

    def export(self, ema: nn.Module, run: Path, step: int) -> Path:
        """Write the codec and its latent statistics to run/vae.

        The last step measures them on training clips, earlier ones on a few validation clips.

        Raises:
            DatasetError: after the last step a latent channel is constant.
        """
        assert isinstance(ema, TrainableCodec)
        folder, config = run / "vae", self.config
        if config.decoder_only:
            save_network(ema, load_codec(find_part(config.init, "vae"), weights=False).config, folder)
            return folder
        is_last = step >= config.steps
        picked = pick(self.clips, NUM_MEASURED, config.seed) if is_last else self.validation[:NUM_MEASURED_EARLY]
        videos = self.reader.read_all(with_progress("measuring latent statistics", picked, at_once=True))
        save_codec(ema, videos, folder, config.channel_gain_power, refuse_constant=is_last)
        return folder

    def state(self) -> dict[str, Any]:
        """An empty state: networks and optimizers are stored separately."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to do."""


def train(config_path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Folder of a trained codec. Continues the run in `out` if there is one.

    Raises:
        ConfigError: an invalid config, or the run folder belongs to another one.
        DatasetError: no clips, too few, or too many unreadable ones.
        DeviceError: a device that this machine doesn't have.
    """
    config = load_config(config_path, CodecTrainConfig, overrides)
    Compute.of(config)  # refuses a device that isn't there, before any data is read
    clips, validation = read_dataset(config.data, config.num_validation)
    task = CodecTask(config, clips, validation)
    folder = Trainer(task).run(out)
    if task.reader.problems:
        print(f"left out: {task.reader}", file=sys.stderr)
    return folder


def fit_linear_path(codec: TrainableCodec, videos: Iterable[Video]) -> None:
    """Fit a codec's linear path to videos and zero the network's last layers, so that the codec is that path alone."""
    path, (time, rows, columns) = codec.linear_path, codec.stride
    assert path is not None, "a codec without a linear path"
    signals = [to_signal(video.frames) for video in videos]
    whole = [v[..., : v.shape[3] // rows * rows, : v.shape[4] // columns * columns] for v in signals]
    first = [path.blocks(v[:, :, :1], 1).flatten(0, 3) for v in whole]
    rest = [path.blocks(v[:, :, 1 : 1 + (v.shape[2] - 1) // time * time], time).flatten(0, 3) for v in whole]
    announce("fitting the linear path")
    path.fit(torch.cat(first), torch.cat(rest))
    codec.silence_network()


def validate(codec: VideoCodec, originals: Sequence[Video], picture: Path) -> Figures:
    """Mean PSNR and SSIM of reconstructions. Writes a picture of originals next to their reconstructions."""
    copies = [reconstruct(codec, video) for video in with_progress("validating", originals, at_once=True)]
    pairs = list(zip(originals, copies, strict=True))
    shown = [video for pair in pairs[:8] for video in pair]
    write_video(contact_sheet(shown, columns=2, frames_per_video=5), picture)
    return {
        "psnr": float(np.mean([psnr(a.frames, b.frames) for a, b in pairs])),
        "ssim": float(np.mean([ssim(a.frames, b.frames) for a, b in pairs])),
    }


def save_codec(
    codec: TrainableCodec,
    videos: Iterable[Video],
    folder: Path,
    channel_gain_power: float,
    *,
    refuse_constant: bool = True,
) -> None:
    """Save a codec with the mean and deviation per channel of these videos' latents.

    Raises:
        DatasetError: with `refuse_constant`, a channel that never varies, which no statistics can normalise.
    """
    latents = torch.cat([encode_video(codec, video).flatten(1) for video in videos], dim=1)
    deviation = latents.std(dim=1)
    if refuse_constant and not (deviation > MIN_DEVIATION).all():
        raise DatasetError("a latent channel is constant: train longer, or with fewer latent channels")
    deviation = deviation.where(deviation > MIN_DEVIATION, 1.0)
    statistics = {
        "latent_mean": tuple(latents.mean(dim=1).tolist()),
        "latent_std": tuple((deviation / channel_gain(codec, channel_gain_power)).tolist()),
    }
    save_network(codec, codec.config.model_copy(update=statistics), folder)


def channel_gain(codec: TrainableCodec, power: float) -> Float[Tensor, " c"]:
    """Target deviation of each normalised latent channel; their mean square is 1.

    A channel's deviation is its effect on pixels through the linear path, raised to `power`. The most visible channels
    then have the largest weight in the transformer's loss. With power 0 or without a linear path all are 1.
    """
    if codec.linear_path is None:
        return torch.ones(codec.latent_channels, device=device_of(codec))
    effect = codec.linear_path.decode_rest.weight.norm(dim=0) ** power
    return effect / effect.square().mean().sqrt()
