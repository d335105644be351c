"""The command line: what it passes on, what it prints, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

import vitascope
from vitascope import cli
from vitascope.errors import ModelError, SizeError

ROOT = Path(__file__).parents[1]
VERBS = (
    ["generate"],
    ["render"],
    ["prepare"],
    ["prepare", "videos"],
    ["prepare", "emoji"],
    ["prepare", "shards"],
    ["train"],
    ["train", "codec"],
    ["train", "transformer"],
    ["evaluate", "codec"],
    ["info"],
)


class FakeVideo:
    """As much of a video as the command line touches."""

    def save(self, path: Path) -> Path:
        path.write_text("video")
        return path


class FakePipeline:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.config = types.SimpleNamespace(fps=8.0)
        self.models: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.failure: BaseException | None = None

    def generate(self, prompt: str, **options: Any) -> FakeVideo:
        if self.failure is not None:
            raise self.failure
        options.pop("on_progress")(1, 2)
        self.asked.append({"prompt": prompt, **options})
        return FakeVideo()

    def card(self) -> dict[str, Any]:
        return {"name": "playground", "fps": 8.0, "limits": {"width": 256}, "languages": ["en", "中文"]}


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    """A fake model behind `vitascope.load`, in an empty working folder."""
    fake = FakePipeline()

    def load(model: str = "playground") -> FakePipeline:
        fake.models.append(model)
        return fake

    monkeypatch.setitem(vars(vitascope), "load", load)
    monkeypatch.chdir(tmp_path)
    return fake


def run_command(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`vitascope ...` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    return subprocess.run(
        [sys.executable, "-m", "vitascope", *words],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        **options,
    )


def test_help_answers_at_once_without_the_heavy_imports() -> None:
    """Fails when `import torch` (or numpy, pydantic, rich) is put at the top of cli.py."""
    program = (
        "import sys; from vitascope.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'av', 'pydantic', 'rich', 'mujoco', 'tokenizers'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert run_command("--help").returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, f"--help took {min(seconds):.2f} s"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_and_is_in_the_readme(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*verb, "--help"]) == 0
    assert f"vitascope {' '.join(verb)}" in capsys.readouterr().out
    assert f"vitascope {' '.join(verb)}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"vitascope {vitascope.__version__}\n"


def test_the_package_offers_only_what_it_has() -> None:
    assert {"load", "Video", "Pipeline", "__version__"} <= set(dir(vitascope))
    assert vitascope.Video.__module__ == "vitascope.video.clip"
    assert vitascope.Pipeline.__module__ == "vitascope.generate.pipeline"
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = vitascope.laod


def test_generate_passes_every_option_on(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "first.png").touch()
    words = "--image first.png --size 160x96 --seconds 2.5 --fps 16 --seed 7 --steps 9 --guidance 3.5 --model here"
    assert cli.main(["generate", "a cat", *words.split(), "--negative", "rain", "-o", "cat.webm"]) == 0
    assert pipeline.models == ["here"]
    assert pipeline.asked == [
        {
            "prompt": "a cat",
            "image": Path("first.png"),
            "height": 96,
            "width": 160,
            "num_frames": 40,
            "fps": 16.0,
            "seed": 7,
            "num_steps": 9,
            "guidance": 3.5,
            "negative": "rain",
        }
    ]
    captured = capsys.readouterr()
    assert captured.out == "cat.webm\n"
    assert (tmp_path / "cat.webm").exists()


def test_generate_leaves_what_is_not_said_to_the_model(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat"]) == 0
    (asked,) = pipeline.asked
    unsaid = ("image", "height", "width", "num_frames", "fps", "num_steps", "guidance")
    assert [asked[name] for name in unsaid] == [None] * len(unsaid)
    assert (asked["seed"], asked["negative"]) == (0, "")


def test_seconds_use_the_models_rate_when_none_is_given(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "--seconds", "2"]) == 0
    assert pipeline.asked[0]["num_frames"] == 16


def test_an_absurd_duration_reaches_the_model_as_a_number(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "--seconds", "1e308"]) == 0
    assert pipeline.asked[0]["num_frames"] == 10**9


@pytest.mark.parametrize(
    ("words", "paths", "seeds"),
    [
        (["A red ball, rolling!"], ["a-red-ball-rolling-0.mp4"], [0]),
        (["一只红色的猫在跑", "--seed", "4"], ["一只红色的猫在跑-4.mp4"], [4]),
        (["../../etc/passwd"], ["etc-passwd-0.mp4"], [0]),
        (["🎈"], ["video-0.mp4"], [0]),
        (["cat", "--frames", "1"], ["cat-0.png"], [0]),
        (["cat", "-n", "2", "--seed", "5"], ["cat-5.mp4", "cat-6.mp4"], [5, 6]),
        (["cat", "-n", "3", "-o", "out.mp4"], ["out-1.mp4", "out-2.mp4", "out-3.mp4"], [0, 1, 2]),
        (["cat", "-o", "."], ["cat-0.mp4"], [0]),
    ],
)
def test_names_of_the_files(
    pipeline: FakePipeline, capsys: pytest.CaptureFixture[str], words: list[str], paths: list[str], seeds: list[int]
) -> None:
    assert cli.main(["generate", *words]) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == paths
    assert [asked["seed"] for asked in pipeline.asked] == seeds
    assert all(Path(path).is_file() for path in paths)


def test_a_long_prompt_gives_a_short_name() -> None:
    assert len(cli._slug("猫 " * 500)) <= 40


def test_an_image_file_asks_for_one_frame(pipeline: FakePipeline) -> None:
    assert cli.main(["generate", "a cat", "-o", "cat.png"]) == 0
    assert pipeline.asked[0]["num_frames"] == 1


def test_an_existing_file_is_replaced(pipeline: FakePipeline, tmp_path: Path) -> None:
    (tmp_path / "cat.mp4").write_text("old")
    assert cli.main(["generate", "a cat", "-o", "cat.mp4"]) == 0
    assert (tmp_path / "cat.mp4").read_text() == "video"


def test_a_sheet_shows_frames_of_every_video(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from vitascope.video import Video, read_video

    grey = Video(np.full((3, 64, 48, 3), 128, np.uint8), 8.0)
    monkeypatch.setattr(pipeline, "generate", lambda prompt, **options: grey)
    assert cli.main(["generate", "cat", "-n", "2", "--sheet", "cat.png"]) == 0
    assert capsys.readouterr().out == "cat-0.mp4\ncat-1.mp4\ncat.png\n"
    sheet = read_video("cat.png")
    assert (sheet.num_frames, sheet.fps > 0) == (1, True)
    assert sheet.width >= 3 * 2 * 48  # three frames, drawn twice as large
    assert sheet.height >= 2 * 2 * 64  # two videos


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "PROMPT"),
        ("cat --frames 0", "--frames"),
        ("cat --frames 2 --seconds 1", "not both"),
        ("cat --seconds -1", "-1.0 is not a positive number"),
        ("cat --seconds nan", "nan"),
        ("cat --fps 0", "--fps"),
        ("cat --fps inf", "inf"),
        ("cat --steps 0", "--steps"),
        ("cat --guidance -2", "--guidance"),
        ("cat --seed -1", "--seed"),
        ("cat --seed 9223372036854775807 -n 2", "--seed"),
        ("cat --seed one", "--seed"),
        ("cat -n 0", "-n"),
        ("cat --size 12", "WIDTHxHEIGHT"),
        ("cat --size 0x8", "WIDTHxHEIGHT"),
        ("cat --size -8x8", "WIDTHxHEIGHT"),
        ("cat --size ٣x٣", "WIDTHxHEIGHT"),
        ("cat --size 12x12x3", "WIDTHxHEIGHT"),
        ("cat --image missing.png", "missing.png: no such file"),
        ("cat -o missing/cat.mp4", "no folder missing"),
        ("cat -o cat.txt", ".mp4"),
        ("cat -o cat.png --frames 9", "cat.mp4"),
        ("cat -n 99999999999", "-n"),
        ("cat --sheet frames.mp4", "--sheet"),
        ("cat -o cat.png --sheet cat.png", "name another file"),
        ("cat dog", "dog"),
        ("cat --stepz 3", "--steps"),
    ],
)
def test_usage_errors_are_one_line_and_nothing_is_loaded_or_written(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert cli.main(["generate", *words.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vitascope: error: ")
    assert captured.err.count("\n") == 1
    assert said.lower() in captured.err.lower()
    assert pipeline.models == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["train"], ["genrate"], ["--nonsense"], ["render", "-o", "x", "--split", "all"]])
def test_other_usage_errors_are_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (SizeError("4096x4096 is too large;\nat most 512x512"), 2, "error: 4096x4096 is too large; at most 512x512"),
        (ModelError("no model x"), 2, "error: no model x"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (ModuleNotFoundError("no", name="mujoco.gl"), 2, "vitascope[world]"),
    ],
)
def test_failures_are_one_line_with_their_exit_code(
    pipeline: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], failure: Exception, code: int, said: str
) -> None:
    pipeline.failure = failure
    assert cli.main(["generate", "a cat"]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("vitascope: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_bug_shows_its_traceback(pipeline: FakePipeline) -> None:
    pipeline.failure = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        cli.main(["generate", "a cat"])


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("sent", "code", "said"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interr")]
)
def test_signals_end_with_their_exit_code(sent: signal.Signals, code: int, said: str, tmp_path: Path) -> None:
    program = (
        "import signal, sys, time, vitascope\n"
        "from vitascope import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background inherits it ignored
        "def load(model): print('ready', flush=True); time.sleep(30)\n"
        "vitascope.load = load\n"
        "sys.exit(cli.main(['info']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert stderr.startswith(f"vitascope: {said}")
    assert stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_reader_that_has_gone_is_no_news() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vitascope", "--help"]
    done = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.stderr == ""


def test_info_prints_the_card(pipeline: FakePipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    assert "limits.width: 256\n" in capsys.readouterr().out
    assert cli.main(["info", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pipeline.card()
    assert pipeline.models == ["playground", "mine"]


@pytest.mark.parametrize("network", ["codec", "transformer"])
def test_train_passes_config_run_and_overrides_on(
    network: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[object, ...]] = []
    module = types.ModuleType("train")

    def train(config: Path, run: Path, overrides: list[str]) -> Path:
        calls.append((config, run, overrides))
        return run / "model"

    vars(module)["train"] = train
    monkeypatch.setitem(sys.modules, f"vitascope.train.{network}", module)
    assert cli.main(["train", network, "configs/small.toml", "steps=3", "optimizer.lr=1e-4"]) == 0
    assert cli.main(["train", network, "configs/small.toml", "--out", "here"]) == 0
    config = Path("configs/small.toml")
    run = Path("runs/small")
    assert calls == [(config, run, ["steps=3", "optimizer.lr=1e-4"]), (config, Path("here"), [])]
    assert capsys.readouterr().out == f"{run / 'model'}\n{Path('here', 'model')}\n"


def test_render_passes_its_settings_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.config import Config

    class RenderConfig(Config):
        num_clips: int = 1
        seed: int = 0
        sizes: tuple[str, ...] = ("64x64",)
        num_frames: tuple[int, ...] = (17,)
        fps: tuple[float, ...] = (8.0,)
        image_share: float = 0.0
        split: str = "train"

    calls: list[tuple[object, ...]] = []

    def render_dataset(config: object, out: Path, num_workers: int, on_progress: Any) -> None:
        on_progress(1, 1)
        calls.append((config, out, num_workers))

    module = types.ModuleType("dataset")
    vars(module).update(RenderConfig=RenderConfig, render_dataset=render_dataset)
    monkeypatch.setitem(sys.modules, "vitascope.world.dataset", module)
    (tmp_path / "world.toml").write_text('num_clips = 9\nsizes = ["32x32"]\nseed = 3\n')
    words = "--size 64x48 --size 96x96 --frames 9 --frames 17 --fps 12 --image-share 0.5 --split held_out --workers 2"
    out = tmp_path / "clips"
    assert cli.main(["render", "--config", str(tmp_path / "world.toml"), "--out", str(out), *words.split()]) == 0
    expected = RenderConfig(
        num_clips=9,
        seed=3,
        sizes=("64x48", "96x96"),
        num_frames=(9, 17),
        fps=(12.0,),
        image_share=0.5,
        split="held_out",
    )
    assert calls == [(expected, out, 2)]
    assert cli.main(["render", "--clips", "4", "--out", str(out), "--seed", "0"]) == 0
    assert calls[1][0] == RenderConfig(num_clips=4)
    capsys.readouterr()
    assert cli.main(["render", "--out", str(out)]) == 2
    assert "--clips" in capsys.readouterr().err
    assert cli.main(["render", "--out", str(out), "--clips", "2", "--size", "9"]) == 2
    assert len(calls) == 2


@pytest.mark.parametrize(
    "words",
    [["render", "--clips", "2"], ["train", "codec", "a.toml"], ["train", "transformer", "a.toml"]],
    ids=" ".join,
)
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], out: str
) -> None:
    (tmp_path / "file").touch()
    assert cli.main([*words, "--out", str(tmp_path / out)]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "is a file, not a folder" in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("bundled", "said"), [([], "no model is bundled here"), (["large", "small"], "or one of large, small")]
)
def test_a_model_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bundled: list[str],
    said: str,
) -> None:
    from vitascope.generate import pipeline

    for name in bundled:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model_index.json").touch()
    monkeypatch.setattr(pipeline.resources, "files", lambda package: tmp_path)
    assert cli.main(["info", "medium"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("vitascope: error: no model 'medium': give a")
    assert said in captured.err


def test_progress_away_from_a_terminal_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.progress import progress

    clock = iter([0.0, 1.0, 6.0, 7.0])
    monkeypatch.setattr("vitascope.progress.time.monotonic", lambda: next(clock))
    with progress("cat.mp4") as on_progress:
        for done in (1, 3, 4):
            on_progress(done, 10)
    assert capsys.readouterr().err == "cat.mp4: 3/10, 14 s left\n"
