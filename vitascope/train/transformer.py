"""Training of the diffusion transformer: `vitascope train transformer CONFIG`."""

from __future__ import annotations

import copy
import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.config import load_config
from vitascope.data.clips import Clip, Reader, list_clips, pick, split_validation
from vitascope.data.encoded import EncodedClip, encode_clips
from vitascope.data.packing import PackLoader, utilisation
from vitascope.errors import ConfigError, DatasetError
from vitascope.files import sha256, write_text
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.card import PipelineConfig
from vitascope.hub.registry import load_codec, load_text_encoder, load_transformer
from vitascope.hub.weights import copy_weights, save_network
from vitascope.model.canvas import Shot, make_canvas, reference_pin
from vitascope.model.diffusion import add_noise, velocity_loss
from vitascope.model.patches import Pack, Sample, pack
from vitascope.model.text import PromptEncoder
from vitascope.model.transformer import Transformer, TransformerConfig
from vitascope.train.optimizer import descend, load_optimizer_tensors, make_optimizers, optimizer_tensors
from vitascope.train.patterns import NoiseConfig, PatternConfig, draw_given, draw_given_sigma, draw_sigmas
from vitascope.train.refit import first_frame_tokens, refit
from vitascope.train.run import Checkpoint, Run, RunConfig, step_generator, update_ema
from vitascope.train.shots import LatentShots, latent_shots
from vitascope.video import Video, contact_sheet, write_video

NUM_REFITTED = 256  # clips whose first frames say how another codec's tokens lead to this one's


class TransformerTrainConfig(RunConfig):
    """A transformer's training run. `vae` and `text_encoder` are folders; `tokenizer` lies beside the latter.

    `init` is the folder of weights to begin with, `init_vae` that of the codec they were trained with, if it wasn't
    `vae`: their first and last layers are then refitted. `max_latent_frames` cuts every clip to its beginning: with 1,
    a run trains on images, whatever its clips, and sees many more things per second than in videos. `storyboards` is
    the share in which a clip of several shots is told shot by shot, as storyboards are; else it has one text.
    """

    vae: str
    text_encoder: str
    init: str = ""
    init_vae: str = ""
    pack_tokens: int = Field(default=4096, ge=16)
    max_latent_frames: int | None = Field(default=None, ge=1)
    captions_per_language: int = Field(default=4, ge=1)
    text_dropout: float = Field(default=0.1, ge=0, le=1)
    storyboards: float = Field(default=0.5, ge=0, le=1)
    sample_prompts: tuple[str, ...] = ()
    noise: NoiseConfig = NoiseConfig()
    patterns: PatternConfig = PatternConfig()
    transformer: TransformerConfig
    pipeline: PipelineConfig

    @model_validator(mode="after")
    def _has_weights_to_refit(self) -> TransformerTrainConfig:
        if self.init_vae and not self.init:
            raise ValueError("init_vae needs init, the folder of the weights that were trained with it")
        return self


@dataclass(frozen=True)
class Batch:
    """A noised pack, and what the loss needs to know of it."""

    pack: Pack
    clean: Float[Tensor, "n p"]
    noise: Float[Tensor, "n p"]
    made: Bool[Tensor, " n"]


class BatchMaker:
    """Turns clips into noised packs: draws caption, given frames, noise levels and noise from one generator."""

    def __init__(
        self,
        clips: Sequence[EncodedClip],
        no_text: Float[Tensor, "l e"],
        config: TransformerTrainConfig,
        time_stride: int,
    ):
        self.clips, self.no_text = clips, no_text
        self.config, self.time_stride = config, time_stride

    @property
    def lengths(self) -> list[int]:
        """Tokens of each clip; a reference's come on top.

        Raises:
            DatasetError: a clip of a size that the patch doesn't divide.
        """
        return [self._length(clip.latent.shape[1:]) for clip in self.clips]

    def _length(self, sides: Sequence[int]) -> int:
        patch = self.config.transformer.patch
        if any(side % step for side, step in zip(sides, patch, strict=True)):
            raise DatasetError(
                f"a clip's latent is {list(sides)}, which patches of {list(patch)} don't divide: crop it"
            )
        return math.prod(sides) // math.prod(patch)

    def make(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """One pack of the clips with these indices; equal lengths stand side by side, to be attended to as a batch."""
        indices = sorted(indices, key=lambda i: self.clips[i].latent.shape[1:])
        samples, cleans, noises, made = zip(*(self._sample(self.clips[i], generator) for i in indices), strict=True)
        return Batch(pack(samples), torch.cat(cleans), torch.cat(noises), torch.cat(made))

    def _contexts(self, tellings: Sequence[Sequence[Tensor]], generator: torch.Generator) -> list[Tensor]:
        """One of the ways to tell a clip, a text for each of its shots; all of them are dropped or none."""
        pick = int(torch.randint(len(tellings), (1,), generator=generator))
        dropped = torch.rand((), generator=generator).item() < self.config.text_dropout
        return [self.no_text if dropped else text.float() for text in tellings[pick]]

    def _shots(self, clip: EncodedClip, generator: torch.Generator) -> LatentShots | None:
        """The shots of a clip that is to be told shot by shot."""
        if not clip.storyboards or torch.rand((), generator=generator).item() >= self.config.storyboards:
            return None
        return latent_shots(clip.cuts, clip.latent.shape[1], self.time_stride)

    def _sample(self, clip: EncodedClip, generator: torch.Generator) -> tuple[Sample, Tensor, Tensor, Tensor]:
        config, latent = self.config, clip.latent.float()
        by_shots = self._shots(clip, generator)
        if by_shots is None:
            by_shots, tellings = LatentShots((Shot(),), ()), [[caption] for caption in clip.captions]
        else:
            tellings = [told[: len(by_shots.shots)] for told in clip.storyboards]
        contexts = self._contexts(tellings, generator)
        pattern = draw_given(latent, config.patterns, generator, config.transformer.patch)
        fps, reference_fps, time_stride = clip.fps, config.pipeline.reference_fps, self.time_stride
        pins = [
            reference_pin(reference, number, fps=fps, reference_fps=reference_fps, time_stride=time_stride)
            for number, reference in enumerate(pattern.references)
        ]
        canvas = make_canvas(
            latent,
            pattern.given,
            pins,
            fps=fps,
            reference_fps=reference_fps,
            patch=config.transformer.patch,
            time_stride=time_stride,
            shots=by_shots.shots,
        )
        sigmas = draw_sigmas(canvas.num_frames, canvas.num_grid_tokens, pattern.independent, config.noise, generator)
        given_sigma = draw_given_sigma(config.patterns, generator)
        noise = torch.randn(canvas.clean.shape, generator=generator)
        sample = canvas.noised(canvas.clean, sigmas, contexts, given_sigma)
        noisy = add_noise(canvas.clean, noise, sample.sigmas[sample.frame_index])
        # a latent frame of two shots is none that a storyboard asks for: seen, and not learned
        made = ~canvas.given & ~torch.isin(canvas.frame, torch.tensor(by_shots.mixed, dtype=canvas.frame.dtype))
        return canvas.noised(noisy, sigmas, contexts, given_sigma), canvas.clean, noise, made


class TransformerTrainer:
    """The network of a run, its average, its optimizers, and one step of them."""

    def __init__(self, config: TransformerTrainConfig):
        self.config = config
        self.model = Transformer(config.transformer, torch.Generator().manual_seed(config.seed))
        if config.init and not config.init_vae:
            copy_weights(self.model, load_transformer(Path(config.init)), config.init)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizers = make_optimizers(
            self.model,
            config.learning_rate,
            is_hidden=lambda name: name.startswith("blocks."),
            dtype=getattr(torch, config.precision),
        )

    def adopt(self, codec: Codec, videos: Sequence[Video]) -> None:
        """Begin with the weights of `init`, refitted from the latents of `init_vae` to this run's codec's."""
        folder, patch = Path(self.config.init), self.config.transformer.patch
        learned = load_transformer(folder)
        before, after = (
            first_frame_tokens(each, videos, patch) for each in (load_codec(Path(self.config.init_vae)), codec)
        )
        refit(self.model, learned, before, after)
        self.ema.load_state_dict(self.model.state_dict())

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """Train on one pack; the loss, overall and by noise level."""
        loss, figures = self.loss(self.model, batch)
        figures["gradient"] = descend(loss, self.model, self.optimizers, self.config.rate(step), step)
        update_ema(self.ema, self.model, self.config.ema_decay, step)
        return figures

    def loss(self, network: Transformer, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The velocity loss of a batch, and its mean in each quarter of the noise levels."""
        sigma = batch.pack.token_sigmas
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            output = network(batch.pack).float()
        loss = velocity_loss(output, batch.clean, batch.noise, sigma, self.config.transformer.prediction, batch.made)
        figures = {"loss": loss.mean.item()}
        for quarter in range(4):
            inside = batch.made & (sigma >= quarter / 4) & (sigma <= (quarter + 1) / 4)
            if inside.any():
                figures[f"loss_{25 * quarter}-{25 * quarter + 25}%"] = loss.per_row[inside].mean().item()
        return loss.mean, figures

    def checkpoint(self, step: int, loader: PackLoader) -> Checkpoint:
        """All that resuming needs."""
        tensors = {"model": self.model.state_dict(), "ema": self.ema.state_dict()}
        for index, optimizer in enumerate(self.optimizers):
            tensors[f"optimizer_{index}"] = optimizer_tensors(optimizer)
        return Checkpoint(step, tensors, {"loader": loader.state})

    def restore(self, checkpoint: Checkpoint, loader: PackLoader) -> None:
        """Go back to a checkpoint's state."""
        self.model.load_state_dict(checkpoint.tensors["model"])
        self.ema.load_state_dict(checkpoint.tensors["ema"])
        for index, optimizer in enumerate(self.optimizers):
            load_optimizer_tensors(optimizer, checkpoint.tensors[f"optimizer_{index}"])
        loader.restore(checkpoint.state["loader"])


def train(config_path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Train a transformer, or go on training it; the folder of the finished model.

    Raises:
        ConfigError: a config that can't be used, or a run folder made with another one.
        DatasetError: no clips, or too few.
        ModelError: a codec or text encoder that can't be loaded.
    """
    config = load_config(config_path, TransformerTrainConfig, overrides)
    clips, validation = split_validation(list_clips(config.data), config.num_validation)
    codec = load_codec(Path(config.vae)).requires_grad_(False)
    text_encoder = load_text_encoder(Path(config.text_encoder))
    _check_shapes(config, codec, text_encoder)
    trainer = TransformerTrainer(config)  # first: a run whose networks can't be made leaves no folder
    run = Run(out, config)
    encoded = {
        name: _encode(config, part, codec, text_encoder, name)
        for name, part in (("train", clips), ("validation", validation))
    }
    no_text = text_encoder.encode([""])[0]
    maker, validator = (BatchMaker(part, no_text, config, codec.stride.time) for part in encoded.values())
    loader = PackLoader(maker.lengths, config.pack_tokens, config.seed)
    shapes = [tuple(clip.latent.shape) for clip in maker.clips]
    print(utilisation(maker.lengths, shapes, config.pack_tokens, config.seed), file=sys.stderr)
    checkpoint, first_step = run.resume(), 0
    if checkpoint is not None:
        trainer.restore(checkpoint, loader)
        first_step = checkpoint.step
    elif config.init_vae:
        reader = Reader(len(clips), config.max_bad_share)
        trainer.adopt(codec, list(reader.read_all(pick(clips, NUM_REFITTED, config.seed))))
    packs = iter(loader)
    pipeline = Pipeline(codec, trainer.ema, text_encoder, config.pipeline)

    def step(number: int) -> dict[str, float]:
        began = time.monotonic()
        batch = maker.make(next(packs), step_generator(config.seed, number))
        waited = time.monotonic() - began
        figures = trainer.step(number, batch)
        return {**figures, **_ledger(trainer.model, batch, config.pack_tokens, time.monotonic() - began, waited)}

    def validate(picture: Path) -> dict[str, float]:
        _write_samples(pipeline, config.sample_prompts, picture)
        return {"validation": validation_loss(trainer, validator)}

    run.train(first_step, step=step, validate=validate, checkpoint=lambda done: trainer.checkpoint(done, loader))
    return export(trainer.ema, config, run.folder / "model", {"steps": config.steps, "clips": len(clips)})


@torch.inference_mode()
def validation_loss(trainer: TransformerTrainer, validator: BatchMaker) -> float:
    """Loss of the averaged weights on clips kept from training, with the same noise at every call."""
    batch = validator.make(range(len(validator.clips)), torch.Generator().manual_seed(0))
    return trainer.loss(trainer.ema, batch)[1]["loss"]


def export(network: Transformer, config: TransformerTrainConfig, folder: Path, training: dict[str, int]) -> Path:
    """Write a complete model folder: the parts and model_index.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_network(network, config.transformer, folder / "transformer")
    text_encoder = Path(config.text_encoder)
    for source, name in (
        (Path(config.vae), "vae"),
        (text_encoder, "text_encoder"),
        (_tokenizer(text_encoder), "tokenizer"),
    ):
        shutil.copytree(source, folder / name, dirs_exist_ok=True)
    pipeline = config.pipeline.model_copy(update={"training": {**config.pipeline.training, **training}})
    index = {
        "_class_name": "VitascopePipeline",
        "transformer": ["vitascope", "VitascopeTransformer"],
        "vae": ["vitascope", "VitascopeCodec"],
        "text_encoder": ["vitascope", "TextEncoder"],
        "tokenizer": ["tokenizers", "Tokenizer"],
        "pipeline": pipeline.model_dump(mode="json"),
    }
    write_text(folder / "model_index.json", json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    return folder


def _ledger(network: Transformer, batch: Batch, budget: int, seconds: float, waited: float) -> dict[str, float]:
    tokens = len(batch.clean)
    return {
        "tokens/s": tokens / seconds,
        "filled": tokens / budget,
        "GFLOP/s": 3 * network.num_flops(batch.pack) / seconds / 1e9,  # backward costs twice the forward
        "data wait": waited / seconds,
    }


def _write_samples(pipeline: Pipeline, prompts: Sequence[str], picture: Path) -> None:
    if prompts:
        videos = [pipeline.generate(prompt, seed=seed) for seed, prompt in enumerate(prompts)]
        write_video(contact_sheet(videos, columns=2, frames_per_video=5), picture)


def _encode(
    config: TransformerTrainConfig, clips: Sequence[Clip], codec: Codec, text_encoder: PromptEncoder, name: str
) -> list[EncodedClip]:
    # the config names the weights' digest, and says how latents are normalised
    latents = f"latents-{sha256(Path(config.vae) / 'config.json')[:12]}"
    texts = f"text-{sha256(Path(config.text_encoder) / 'model.safetensors')[:12]}"

    def show(what: str, done: int, total: int) -> None:
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"{name} {what} {done}/{total}", end=end, file=sys.stderr, flush=True)

    data, reader = Path(config.data), Reader(len(clips), config.max_bad_share)
    encoded = encode_clips(
        clips,
        codec,
        data / latents / name,
        text_encoder,
        data / texts / name,
        config.captions_per_language,
        reader,
        show,
    )
    if reader.problems:
        print(f"left out: {reader}", file=sys.stderr)
    return [replace(clip, latent=clip.latent[:, : config.max_latent_frames].clone()) for clip in encoded]


def _tokenizer(text_encoder: Path) -> Path:
    return text_encoder.parent / "tokenizer"


def _check_shapes(config: TransformerTrainConfig, codec: Codec, text_encoder: PromptEncoder) -> None:
    """Refuse a transformer that doesn't fit its neighbours, before anything long begins."""
    for name, has, needs in (
        ("in_channels", config.transformer.in_channels, codec.latent_channels),
        ("out_channels", config.transformer.out_channels, codec.latent_channels),
        ("text_width", config.transformer.text_width, text_encoder.width),
    ):
        if has != needs:
            raise ConfigError(f"transformer.{name} is {has}, but the model's other part has {needs}")
