"""Training of the diffusion transformer: `vitascope train transformer CONFIG`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitascope.codec.video_codec import VideoCodec
from vitascope.config import load_config
from vitascope.data.caches import ClipEncoder, EncodedClip
from vitascope.data.clips import Clip, Reader, pick
from vitascope.data.packing import PackLoader, utilisation
from vitascope.errors import ConfigError, DeviceError
from vitascope.files import replacing_folder
from vitascope.generate.pipeline import Pipeline
from vitascope.hub.registry import find_part, load_codec, load_text_encoder, load_transformer
from vitascope.hub.weights import content_digest, copy_folder, copy_part, copy_weights, save_network, write_manifest
from vitascope.kernels.device import CPU, compile_problem, keep_graphs, to_device
from vitascope.model.diffusion import velocity_loss
from vitascope.model.text import PromptEncoder
from vitascope.model.transformer import Transformer
from vitascope.progress import announce, with_progress
from vitascope.train.loop import Figures, Loss, Trainer
from vitascope.train.packs import BatchMaker, PackBatch
from vitascope.train.refit import first_frame_tokens, refit
from vitascope.train.run import Compute, read_dataset, seeded
from vitascope.train.transformer_config import TransformerTrainConfig
from vitascope.video import contact_sheet, write_video

NUM_REFITTED = 256  # clips whose first frames map one codec's tokens to another's
GIGA = 1e9


class TransformerTask:
    """Training of a transformer, for `Trainer`.

    Raises:
        ConfigError: a transformer that doesn't fit its codec or text encoder.
        ModelError: a codec, text encoder or `init` that can't be loaded.
    """

    name = "transformer"
    adversary = None

    def __init__(self, config: TransformerTrainConfig, clips: Sequence[Clip], validation: Sequence[Clip] = ()):
        self.config, self.compute = config, Compute.of(config)
        self.clips, self.validation = clips, validation
        device = self.compute.device
        self.codec = load_codec(find_part(config.vae, "vae"), device=device).requires_grad_(False)
        self.text_encoder = load_text_encoder(find_part(config.text_encoder, "text_encoder"), device=device)
        _check_shapes(config, self.codec, self.text_encoder)
        with seeded(config.seed):  # PyTorch's layers draw weights that are then replaced
            self.model = Transformer(config.transformer, torch.Generator().manual_seed(config.seed))
        self.model.recompute_blocks = config.recompute_blocks
        if config.init and not config.init_vae:
            copy_weights(self.model, load_transformer(find_part(config.init, "transformer")), config.init)
        self.networks: dict[str, nn.Module] = {"model": self.model}
        self._has_exported = False

    def is_hidden(self, name: str) -> bool:
        """True if a parameter belongs to a block."""
        return name.startswith("model.blocks.")

    def prepare(self) -> None:
        """Encode the clips, or read an earlier run's encodings; plan the packs."""
        training, validation = (
            self._encode(part, name) for part, name in ((self.clips, "train"), (self.validation, "validation"))
        )
        no_text = self.text_encoder.encode([""])[0].to(CPU)
        self.maker, self.validator = (
            BatchMaker(part, no_text, self.config, self.codec.stride.time) for part in (training, validation)
        )
        lengths, budget, seed = self.maker.lengths, self.config.pack_tokens, self.config.seed
        self.loader = PackLoader(lengths, budget, seed)
        self.packs = iter(self.loader)
        announce("planning packs")
        shapes = [tuple(clip.latent.shape) for clip in training]
        print(utilisation(lengths, shapes, budget, seed), file=sys.stderr)
        if self.config.compile:  # after the trainer has copied the network: the average stays as it is
            self.compile()

    def start(self) -> None:
        """If the config sets `init_vae`, load `init` and refit it from that codec's latents to this run's codec."""
        if not self.config.init_vae:
            return
        reader = Reader(len(self.clips), self.config.max_bad_share)
        picked = with_progress(
            "reading clips to refit to", pick(self.clips, NUM_REFITTED, self.config.seed), at_once=True
        )
        videos, patch = list(reader.read_all(picked)), self.config.transformer.patch
        announce("refitting to the codec")
        learned = load_transformer(find_part(self.config.init, "transformer"))
        before, after = (
            first_frame_tokens(codec, videos, patch).to(CPU)
            for codec in (load_codec(find_part(self.config.init_vae, "vae"), device=self.compute.device), self.codec)
        )
        refit(self.model, learned, before, after)

    def batch(self, generator: torch.Generator) -> PackBatch:
        """Next pack, noised with the generator."""
        return self.maker.make(next(self.packs), generator)

    def loss(self, batch: PackBatch, step: int, generator: torch.Generator) -> Loss:
        """Velocity loss of a pack; as figures its mean, also in each quarter of the noise levels."""
        return self.loss_of(self.model, batch)

    def loss_of(self, network: nn.Module, batch: PackBatch) -> Loss:
        """Velocity loss of a network on a pack."""
        sigma, prediction = batch.pack.token_sigmas, self.config.transformer.prediction
        with self.compute.autocast():
            output = network(batch.pack).float()
        loss = velocity_loss(output, batch.clean, batch.noise, sigma, prediction, batch.target)
        total, per_token, num_tokens = loss.mean.detach(), loss.per_row, len(batch.clean)

        def figures() -> Figures:
            return {
                "loss": total.item(),
                **_by_noise_level(per_token, sigma, batch.target),
                "filled": num_tokens / self.config.pack_tokens,
            }

        flops = 3 * self.model.num_flops(batch.pack)  # the backward pass costs twice the forward pass
        amounts = {"tokens": num_tokens, "GFLOP": flops / GIGA}
        return Loss(loss.mean, figures, weight=max(1, batch.num_targets), amounts=amounts)

    def validate(self, ema: nn.Module, picture: Path) -> Figures:
        """Loss on the validation clips, with the same noise at every call, and a picture of the sample prompts."""
        assert isinstance(ema, Transformer)
        if self.config.sample_prompts:
            pipeline = Pipeline(self.codec, ema, self.text_encoder, self.config.pipeline)
            prompts = with_progress("generating samples", self.config.sample_prompts, at_once=True)
            videos = [pipeline.generate(prompt, seed=seed) for seed, prompt in enumerate(prompts)]
            write_video(contact_sheet(videos, columns=2, frames_per_video=5), picture)
        announce("computing the validation loss")
        return {"validation": self.validation_loss(ema)}

    @torch.inference_mode()
    def validation_loss(self, network: nn.Module) -> float:
        """Loss of a network on the validation clips, with the same noise at every call."""
        batch = self.validator.make(range(len(self.validator.clips)), torch.Generator().manual_seed(0))
        return self.loss_of(network, to_device(batch, self.compute.device)).total.item()

    def export(self, ema: nn.Module, run: Path, step: int) -> Path:
        """Write the complete model to run/model; the old folder is replaced when the new one is complete."""
        assert isinstance(ema, Transformer)
        announce("writing the model")
        training = {"steps": step, "clips": len(self.clips)}
        # later exports of a process link files of the first one, which takes no time and no space
        export(ema, self.config, run / "model", training, reuse=self._has_exported)
        self._has_exported = True
        return run / "model"

    def state(self) -> dict[str, Any]:
        """Position in the data."""
        return {"loader": self.loader.state}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a position in the data."""
        self.loader.restore(state["loader"])

    def compile(self) -> None:
        """Compile the blocks. With the setting `auto`, leave them as they are where torch.compile fails.

        Raises:
            DeviceError: the setting is true, and torch.compile fails.
        """
        problem = compile_problem(self.compute.device)
        if problem is None:
            announce("the first step compiles the blocks")
            self.model.compile_blocks()
        elif self.config.compile == "auto":
            print(f"training without torch.compile: {problem}", file=sys.stderr)
        else:
            raise DeviceError(
                f"compile=true, but torch.compile fails here ({problem}); install a C++ compiler such as g++, or give "
                "compile=auto or compile=false"
            )

    def _encode(self, clips: Sequence[Clip], name: str) -> list[EncodedClip]:
        """Encoded clips, cached in the dataset's folder. Unreadable ones are left out."""
        config, data = self.config, Path(self.config.data)
        vae, text_encoder = find_part(config.vae, "vae"), find_part(config.text_encoder, "text_encoder")
        tokenizers = [folder for folder in (_tokenizer(text_encoder),) if folder.is_dir()]
        latents = f"latents-{content_digest(vae)[:12]}"
        texts = f"text-{content_digest(text_encoder, *tokenizers)[:12]}"
        encoder = ClipEncoder(
            self.codec, data / latents / name, self.text_encoder, data / texts / name, config.captions_per_language
        )
        reader = Reader(len(clips), config.max_bad_share)
        encoded = encoder.encode(clips, reader, name)
        if reader.problems:
            print(f"left out: {reader}", file=sys.stderr)
        return [replace(clip, latent=clip.latent[:, : config.max_latent_frames].clone()) for clip in encoded]


def train(config_path: str | Path, out: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Folder of a trained model. Continues the run in `out` if there is one.

    Raises:
        ConfigError: an invalid config, or the run folder belongs to another one.
        DatasetError: no clips, too few, or too many unreadable ones.
        DeviceError: a device that this machine doesn't have, or `compile=true` where torch.compile fails.
        ModelError: a codec or text encoder that can't be loaded.
    """
    config = load_config(config_path, TransformerTrainConfig, overrides)
    Compute.of(config)  # refuses a device that isn't there, before any data is read
    if config.compile:
        keep_graphs(Path(out) / "compiled")
    clips, validation = read_dataset(config.data, config.num_validation)
    return Trainer(TransformerTask(config, clips, validation)).run(out)


def export(
    network: Transformer, config: TransformerTrainConfig, folder: Path, training: dict[str, int], *, reuse: bool = False
) -> Path:
    """Write a complete model folder: transformer, codec, text encoder, tokenizer and model_index.json.

    With `reuse`, codec, text encoder and tokenizer are taken from the folder that is there.
    """
    vae, text_encoder = find_part(config.vae, "vae"), find_part(config.text_encoder, "text_encoder")
    sources = {"vae": vae, "text_encoder": text_encoder, "tokenizer": _tokenizer(text_encoder)}
    pipeline = config.pipeline.model_copy(update={"training": {**config.pipeline.training, **training}})
    index = {
        "_class_name": "VitascopePipeline",
        "transformer": ["vitascope", "VitascopeTransformer"],
        "vae": ["vitascope", load_codec(vae, weights=False).class_name],
        "text_encoder": ["vitascope", "TextEncoder"],
        "tokenizer": ["tokenizers", "Tokenizer"],
        "pipeline": pipeline.model_dump(mode="json"),
    }
    with replacing_folder(folder) as temporary:
        save_network(network, config.transformer, temporary / "transformer")
        for name, source in sources.items():
            if reuse and (folder / name).is_dir():
                copy_folder(folder / name, temporary / name, _link)
            else:
                copy_part(source, temporary / name)
        text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
        (temporary / "model_index.json").write_text(text, encoding="utf-8")
        write_manifest(temporary)
    return folder


def _link(source: str, target: str) -> str:
    """Link a file, or copy it where the file system has no links."""
    try:
        os.link(source, target)
        return target
    except OSError:
        return shutil.copyfile(source, target)


def _by_noise_level(loss: Tensor, sigma: Tensor, target: Tensor) -> Figures:
    """Mean loss of the target tokens in each quarter of the noise levels; empty quarters are left out."""
    figures = {}
    for quarter in range(4):
        inside = target & (sigma >= quarter / 4) & (sigma <= (quarter + 1) / 4)
        if inside.any():
            figures[f"loss_{25 * quarter}-{25 * quarter + 25}%"] = loss[inside].mean().item()
    return figures


def _tokenizer(text_encoder: Path) -> Path:
    return text_encoder.parent / "tokenizer"


def _check_shapes(config: TransformerTrainConfig, codec: VideoCodec, text_encoder: PromptEncoder) -> None:
    """Refuse a transformer that doesn't fit its codec and text encoder, before any data is read."""
    for name, has, needs in (
        ("in_channels", config.transformer.in_channels, codec.latent_channels),
        ("out_channels", config.transformer.out_channels, codec.latent_channels),
        ("text_width", config.transformer.text_width, text_encoder.width),
    ):
        if has != needs:
            part = "text encoder" if name == "text_width" else "codec"
            raise ConfigError(f"transformer.{name} is {has}, but the {part} has {needs}: set it to {needs}")
