"""Clips as the transformer sees them: latents and text states, encoded once and cached on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitascope.codec.streaming import encode_video
from vitascope.codec.video_codec import VideoCodec
from vitascope.data.clips import Clip, Reader, shot_prompts
from vitascope.errors import PromptError, reason
from vitascope.files import lock_folder, replacing, write_tensors
from vitascope.kernels.device import CPU
from vitascope.model.text import PromptEncoder
from vitascope.progress import progress

CLIPS_PER_SHARD = 256

States = Float[Tensor, "_l e"]


def cached_latents(
    codec: VideoCodec,
    clips: Sequence[Clip],
    folder: Path,
    reader: Reader,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Float[Tensor, "c _t _h _w"] | None]:
    """Latent of each clip, float16 on the CPU; None for unreadable clips.

    Latents that the folder lacks, also those of clips whose media have changed, are encoded and written, one shard at a
    time. The folder must belong to this codec and dataset alone: name it after the codec's digest. Damaged shards are
    encoded again, with a note.

    Raises:
        FloatingPointError: a clip's latent is not finite.
    """
    with _claimed(folder):
        return _latents(codec, clips, folder, reader, on_progress)


def _latents(
    codec: VideoCodec,
    clips: Sequence[Clip],
    folder: Path,
    reader: Reader,
    on_progress: Callable[[int, int], None] | None,
) -> list[Float[Tensor, "c _t _h _w"] | None]:
    latents: list[Tensor | None] = []
    for start in range(0, len(clips), CLIPS_PER_SHARD):
        part = clips[start : start + CLIPS_PER_SHARD]
        shard = folder / f"latents_{start // CLIPS_PER_SHARD:05d}.safetensors"
        keys = [clip.fingerprint() for clip in part]
        stored, _ = _read_shard(shard)
        found = {key: stored[key] for key in keys if key in stored}
        num_found = len(found)
        for number, (key, clip) in enumerate(zip(keys, part, strict=True)):
            video = None if key in found else reader.read(clip)
            if video is not None:
                found[key] = encode_video(codec, video).to(CPU, torch.float16).contiguous()
                if not found[key].isfinite().all():
                    raise FloatingPointError(f"clip {clip.id}: its latent is not finite in float16; check the clip")
            if on_progress is not None:
                on_progress(start + number + 1, len(clips))
        if len(found) > num_found:
            _write_shard(shard, found, {})
        latents += map(found.get, keys)
    return latents


def cached_text_states(
    encoder: PromptEncoder,
    texts_of_clips: Sequence[Sequence[str]],
    folder: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[States]]:
    """States of each clip's texts, float16 on the CPU.

    States that the folder lacks are encoded and written, one shard at a time. The folder must belong to this text
    encoder and dataset alone: name it after the encoder's digest. Damaged shards are encoded again, with a note.
    """
    with _claimed(folder):
        return _text_states(encoder, texts_of_clips, folder, on_progress)


def _text_states(
    encoder: PromptEncoder,
    texts_of_clips: Sequence[Sequence[str]],
    folder: Path,
    on_progress: Callable[[int, int], None] | None,
) -> list[list[States]]:
    states: list[list[States]] = []
    for start in range(0, len(texts_of_clips), CLIPS_PER_SHARD):
        part = texts_of_clips[start : start + CLIPS_PER_SHARD]
        texts = [text for of_clip in part for text in of_clip]
        shard = folder / f"text_{start // CLIPS_PER_SHARD:05d}.safetensors"
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        found = _read_states(shard, digest) if texts else []
        if found is None:
            found = _encode_texts(encoder, texts)
            tensors = {"states": torch.cat(found), "lengths": torch.tensor([len(state) for state in found])}
            _write_shard(shard, tensors, {"captions_sha256": digest})
        remaining = iter(found)
        states += [[next(remaining) for _ in of_clip] for of_clip in part]
        if on_progress is not None:
            on_progress(len(states), len(texts_of_clips))
    return states


def _encode_texts(encoder: PromptEncoder, texts: Sequence[str]) -> list[States]:
    """States of each text, none if it has too many tokens. Equal texts are encoded once, similar lengths together."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    try:
        states = encoder.encode(distinct)
    except PromptError:
        states = [_states_or_none(encoder, text) for text in distinct]
    by_text = dict(zip(distinct, (state.to(CPU, torch.float16) for state in states), strict=True))
    return [by_text[text] for text in texts]


def _states_or_none(encoder: PromptEncoder, text: str) -> States:
    try:
        return encoder.encode([text])[0]
    except PromptError:
        return torch.zeros(0, encoder.width)


def _read_states(path: Path, digest: str) -> list[States] | None:
    """States in a shard; None if it is missing, damaged or belongs to other captions."""
    tensors, metadata = _read_shard(path)
    if metadata.get("captions_sha256") != digest or not {"states", "lengths"} <= tensors.keys():
        return None
    return list(tensors["states"].split(tensors["lengths"].tolist()))


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Exclusive use of a cache, after waiting for other runs that encode the same clips."""
    with ExitStack() as stack:
        with suppress(OSError):  # a dataset on a read-only disk, whose caches may be complete
            stack.enter_context(lock_folder(folder, wait=True))
        yield


def _write_shard(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    with replacing(path) as temporary:
        write_tensors(temporary, tensors, {**metadata, "sha256": _digest(tensors)})


def _read_shard(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a shard, empty if it is missing or damaged."""
    if not path.exists():
        return {}, {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if metadata.get("sha256") != _digest(tensors):
            raise ValueError("its SHA-256 is missing or differs")
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:  # RuntimeError: too large to map
        print(f"{path} is damaged ({reason(error)}); encoding it again", file=sys.stderr)
        return {}, {}
    return tensors, metadata


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors with their names, number formats and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class EncodedClip:
    """Latent of a clip and text states of its captions, both float16 on the CPU; frames per second.

    `cuts` are the first frames of all shots but the first. Each storyboard has the states of one text per shot.
    """

    latent: Float[Tensor, "c t h w"]
    captions: list[Float[Tensor, "_l e"]]
    fps: float
    cuts: tuple[int, ...] = ()
    storyboards: tuple[tuple[Float[Tensor, "_l e"], ...], ...] = ()
    id: str = ""


@dataclass(frozen=True)
class ClipEncoder:
    """Encodes clips and caches the results in two folders.

    The folders must belong to this codec, this text encoder and these clips alone: name them after digests.
    """

    codec: VideoCodec
    latent_folder: Path
    text_encoder: PromptEncoder
    text_folder: Path
    captions_per_language: int

    def encode(self, clips: Sequence[Clip], reader: Reader, label: str) -> list[EncodedClip]:
        """All readable clips, encoded. Progress lines contain `label`."""
        captions = [clip.some_captions(self.captions_per_language) for clip in clips]
        prompts = [
            [
                prompt
                for storyboard in clip.some_storyboards(self.captions_per_language)
                for prompt in shot_prompts(storyboard)
            ]
            for clip in clips
        ]
        texts = [[*whole, *shots] for whole, shots in zip(captions, prompts, strict=True)]
        with progress(f"encoding latents for {label}", at_once=True) as show:
            show(0, len(clips))
            latents = cached_latents(self.codec, clips, self.latent_folder, reader, show)
        with progress(f"encoding texts for {label}", at_once=True) as show:
            show(0, len(clips))
            states = cached_text_states(self.text_encoder, texts, self.text_folder, show)
        if too_long := sum(not len(state) for of_clip in states for state in of_clip):
            print(f"left out {too_long} x text of too many tokens for the text encoder", file=sys.stderr)
        return [
            _encoded(clip, latent, of_clip, len(whole))
            for clip, latent, of_clip, whole in zip(clips, latents, states, captions, strict=True)
            if latent is not None
        ]


def _encoded(
    clip: Clip, latent: Float[Tensor, "c t h w"], states: list[Float[Tensor, "_l e"]], num_captions: int
) -> EncodedClip:
    num_shots = len(clip.cuts) + 1
    starts = range(num_captions, len(states), num_shots)
    storyboards = (tuple(states[start : start + num_shots]) for start in starts)
    captions = [state for state in states[:num_captions] if len(state)]
    usable = tuple(board for board in storyboards if all(len(state) for state in board))
    return EncodedClip(latent, captions, clip.fps, clip.cuts, usable, clip.id)
