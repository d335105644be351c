"""A dataset's latents, encoded once by a given codec and kept beside the clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.codec.network import Codec
from vitascope.codec.streaming import encode_video
from vitascope.data.clips import Clip, Reader
from vitascope.files import replacing

CLIPS_PER_SHARD = 256


def cached_latents(
    codec: Codec,
    clips: Sequence[Clip],
    folder: Path,
    reader: Reader,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Float[Tensor, "c _t _h _w"] | None]:
    """The latent (float16) of each clip, None for those that `reader` can't read.

    What the folder lacks is encoded and written there, a shard at a time.

    The folder must belong to this codec and dataset alone: name it after the codec's digest.
    """
    latents: dict[str, Tensor] = {}
    for start in range(0, len(clips), CLIPS_PER_SHARD):
        part = clips[start : start + CLIPS_PER_SHARD]
        shard = folder / f"latents_{start // CLIPS_PER_SHARD:05d}.safetensors"
        found = _read_shard(shard)
        new = _encode(codec, [clip for clip in part if clip.id not in found], reader)
        found.update(new)
        if new:
            with replacing(shard) as temporary:
                save_file(found, temporary)
        latents.update(found)
        if on_progress is not None:
            on_progress(min(start + CLIPS_PER_SHARD, len(clips)), len(clips))
    return [latents.get(clip.id) for clip in clips]


def _encode(codec: Codec, clips: Sequence[Clip], reader: Reader) -> dict[str, Tensor]:
    videos = ((clip.id, reader.read(clip)) for clip in clips)
    return {id_: encode_video(codec, video).half().contiguous() for id_, video in videos if video is not None}


def _read_shard(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        return {}
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return {}  # a damaged shard is made again
