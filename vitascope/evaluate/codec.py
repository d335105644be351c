"""How much of a video a codec keeps: PSNR and SSIM of each clip after encoding and decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vitascope.codec.network import Codec
from vitascope.codec.quality import psnr, ssim
from vitascope.codec.streaming import reconstruct
from vitascope.errors import SizeError
from vitascope.evaluate.report import list_media, write_report
from vitascope.video import Video, contact_sheet

SHOWN = 8  # clips in the picture


@dataclass(frozen=True)
class CodecScore:
    """One clip's scores: PSNR in dB and SSIM of its reconstruction."""

    name: str
    width: int
    height: int
    num_frames: int
    psnr: float
    ssim: float


@dataclass(frozen=True)
class CodecReport:
    """All clips' scores, and originals beside reconstructions as one picture."""

    scores: list[CodecScore]
    sheet: Video

    @property
    def mean_psnr(self) -> float:
        """Mean over clips, in dB."""
        return float(np.mean([score.psnr for score in self.scores]))

    @property
    def mean_ssim(self) -> float:
        """Mean over clips."""
        return float(np.mean([score.ssim for score in self.scores]))

    def lines(self) -> list[str]:
        """A table, one clip a line, the mean last."""
        rows = [
            f"{s.name:32.32} {f'{s.width}x{s.height}':>9} {s.num_frames:6} {s.psnr:9.2f} {s.ssim:7.4f}"
            for s in self.scores
        ]
        head = f"{'clip':32} {'size':>9} {'frames':>6} {'PSNR dB':>9} {'SSIM':>7}"
        mean = f"{f'mean of {len(rows)} clips':49} {self.mean_psnr:9.2f} {self.mean_ssim:7.4f}"
        return [head, *rows, mean]

    def write(self, out: Path) -> None:
        """Write codec.json and codec.png into a folder."""
        tree = {"psnr": self.mean_psnr, "ssim": self.mean_ssim, "clips": [asdict(score) for score in self.scores]}
        write_report(out, "codec", tree, self.sheet)


def evaluate_codec(
    codec: Codec,
    sources: Sequence[Path],
    *,
    rows: int | None = None,
    max_frames: int = 49,
    on_progress: Callable[[int, int], None] | None = None,
) -> CodecReport:
    """Scores on video files, on folders of them and on dataset folders.

    `rows` resizes each clip to that height, aspect kept; at most the first `max_frames` frames are taken.

    Raises:
        MediaError, DatasetError: a source that can't be read.
        SizeError: clips smaller than SSIM's window.
    """
    named = [pair for source in sources for pair in list_media(source)]
    if not named:
        raise SizeError("no clips to evaluate: name video files or dataset folders")
    scores: list[CodecScore] = []
    shown: list[Video] = []
    for name, read in named:
        original = _fitted(read, rows, max_frames)
        copy = reconstruct(codec, original)
        quality = psnr(original.frames, copy.frames), ssim(original.frames, copy.frames)
        scores.append(CodecScore(name, original.width, original.height, original.num_frames, *quality))
        if len(shown) < 2 * SHOWN:
            shown += [original, copy]
        if on_progress is not None:
            on_progress(len(scores), len(named))
    return CodecReport(scores, contact_sheet(shown, columns=2, frames_per_video=4))


def _fitted(read: Callable[..., Video], rows: int | None, max_frames: int) -> Video:
    video = read(max_frames=max_frames)
    if rows is None or rows == video.height:
        return video
    width = max(16, 2 * round(video.width * rows / video.height / 2))
    return read(max_frames=max_frames, size=(rows, width))
