"""Accuracy of a judge on rendered clips, by attribute, and the calibration of its confidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from vitascope.data.clips import Clip, list_clips, pick
from vitascope.errors import DatasetError
from vitascope.evaluate.measures.rates import Rate, rates
from vitascope.evaluate.measures.readings import Read, load_judge, shuffled
from vitascope.evaluate.report import write_report
from vitascope.judge.calibration import Bin, expected_calibration_error, reliability, reliability_picture
from vitascope.judge.scoring import verdicts
from vitascope.judge.sentence import Sentence, describe
from vitascope.progress import OnProgress, Progress, no_progress


@dataclass(frozen=True)
class JudgeReport:
    """Rates against each clip's ground truth and another clip's (chance), and the reliability of the confidence."""

    num_clips: int
    rates: dict[str, Rate]
    chance: dict[str, Rate]
    bins: list[Bin]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error in [0, 1]."""
        return expected_calibration_error(self.bins)

    def lines(self) -> list[str]:
        """A table with one attribute per line; the overall rate comes last."""
        head = f"{'attribute':12} {'correct %':>9} {'95 %':>13} {'chance %':>9} {'n':>6}"
        rows = [
            f"{name:12} {100 * r.accuracy:9.1f} {_interval(r)} {100 * self._chance_of(name):9.1f} {r.num:6}"
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
        """Chance of an attribute; 0 if it had no verdicts, since relations count only where one exists or was read."""
        return self.chance[name].accuracy if name in self.chance else 0.0


def run(
    data: Path,
    *,
    judge: Path | None = None,
    num_clips: int | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = no_progress,
) -> JudgeReport:
    """The report of a judge, by default the bundled one, on the clips of a rendered folder.

    Raises:
        ModelError: no such judge.
        DeviceError: no such device.
        DatasetError, MediaError: as `evaluate_judge`.
    """
    reader = load_judge(judge, device)
    with progress("judge") as on_progress:
        return evaluate_judge(reader.read, data, num_clips=num_clips, seed=seed, on_progress=on_progress)


def evaluate_judge(
    read: Read,
    data: Path,
    *,
    num_clips: int | None = None,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> JudgeReport:
    """Readings of a rendered folder's clips, or a sample of them, compared with their records.

    Raises:
        DatasetError: a record lacks attributes, or there are fewer than two clips.
        MediaError: a clip can't be read.
    """
    clips = list_clips(data)
    clips = clips if num_clips is None else pick(clips, num_clips, seed)
    if len(clips) < 2:
        raise DatasetError(f"{len(clips)} clips; give at least two, since chance compares each with another")
    truths = [_truth(clip) for clip in clips]
    readings = []
    for done, clip in enumerate(clips, start=1):
        readings.append(read(clip.read()))
        if on_progress is not None:
            on_progress(done, len(clips))
    found = [verdicts(t, r.sentence, r.confidence) for t, r in zip(truths, readings, strict=True)]
    by_chance = [verdicts(t, r.sentence) for t, r in zip(truths, shuffled(readings), strict=True)]
    sure = [verdict for clip in found for verdict in clip if verdict.confidence is not None]
    bins = reliability([verdict.confidence or 0.0 for verdict in sure], [verdict.right for verdict in sure])
    return JudgeReport(len(clips), rates(found), rates(by_chance), bins)


def _truth(clip: Clip) -> Sentence:
    if clip.attributes is None:
        raise DatasetError(f"clip {clip.id} has no attributes; give a folder that `vitascope render` made")
    return describe(clip.attributes, is_image=clip.num_frames == 1)


def _interval(rate: Rate) -> str:
    return f"{100 * rate.low:6.1f}-{100 * rate.high:5.1f} "
