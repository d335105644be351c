"""How well the judge reads what is known: accuracy of each attribute on rendered clips, and of its confidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vitascope.data.clips import Clip, list_clips, pick
from vitascope.errors import DatasetError
from vitascope.evaluate.measures.rates import Rate, rates
from vitascope.evaluate.measures.report import write_report
from vitascope.judge.calibration import Bin, expected_calibration_error, reliability, reliability_picture
from vitascope.judge.network import Reading
from vitascope.judge.scoring import verdicts
from vitascope.judge.sentence import Sentence, describe
from vitascope.video import Video

Read = Callable[[Video], Reading]


@dataclass(frozen=True)
class JudgeReport:
    """Rates of the readings against the truth and against another clip's truth, and how often which confidence held."""

    num_clips: int
    rates: dict[str, Rate]
    chance: dict[str, Rate]
    bins: list[Bin]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0 to 1."""
        return expected_calibration_error(self.bins)

    def lines(self) -> list[str]:
        """A table, one attribute a line, all together last."""
        head = f"{'attribute':12} {'right %':>8} {'95 %':>13} {'chance %':>9} {'n':>6}"
        rows = [
            f"{name:12} {100 * r.accuracy:8.1f} {_interval(r)} {100 * self._chance_of(name):9.1f} {r.num:6}"
            for name, r in self.rates.items()
        ]
        return [head, *rows, f"calibration error {100 * self.calibration_error:.1f} %, {self.num_clips} clips"]

    def write(self, out: Path) -> None:
        """Write judge.json and judge.png, a reliability diagram, into a folder."""
        tree = {
            "clips": self.num_clips,
            "calibration_error": self.calibration_error,
            "attributes": {
                name: {**asdict(each), "chance": self._chance_of(name)} for name, each in self.rates.items()
            },
            "bins": [each._asdict() for each in self.bins],
        }
        write_report(out, "judge", tree, reliability_picture(self.bins))

    def _chance_of(self, name: str) -> float:
        """0 where chance had nothing to get right: a relation is asked for only if one is there or was read."""
        return self.chance[name].accuracy if name in self.chance else 0.0


def evaluate_judge(
    read: Read,
    data: Path,
    *,
    num_clips: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> JudgeReport:
    """Readings of a rendered folder's clips, or of some of them, against their records.

    Raises:
        DatasetError: clips whose records don't say what they show, or fewer than two.
        MediaError: a clip that can't be read.
    """
    clips = list_clips(data)
    clips = clips if num_clips is None else pick(clips, num_clips, seed)
    if len(clips) < 2:
        raise DatasetError(f"{len(clips)} clips to evaluate on: chance needs at least two")
    truths = [_truth(clip) for clip in clips]
    readings = []
    for done, clip in enumerate(clips, start=1):
        readings.append(read(clip.read()))
        if on_progress is not None:
            on_progress(done, len(clips))
    found = [verdicts(t, r.sentence, r.confidence) for t, r in zip(truths, readings, strict=True)]
    by_chance = [verdicts(t, r.sentence) for t, r in zip(truths, others(readings), strict=True)]
    sure = [verdict for clip in found for verdict in clip if verdict.confidence is not None]
    bins = reliability([verdict.confidence or 0.0 for verdict in sure], [verdict.right for verdict in sure])
    return JudgeReport(len(clips), rates(found), rates(by_chance), bins)


def others(readings: Sequence[Reading]) -> list[Reading]:
    """For each clip another one's reading: what is right by chance, given how often what occurs."""
    half = len(readings) // 2
    return [*readings[half:], *readings[:half]]


def _truth(clip: Clip) -> Sentence:
    if clip.attributes is None:
        raise DatasetError(f"clip {clip.id} doesn't say what it shows; evaluate on what `vitascope render` made")
    return describe(clip.attributes, is_image=clip.num_frames == 1)


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:6.1f}-{100 * rate.high:5.1f} "
