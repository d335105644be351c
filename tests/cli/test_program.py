"""The command line as a program: its help, its exit codes, signals and pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vitascope
from tests.cli.fakes import FakePipeline
from vitascope import cli
from vitascope.errors import ModelError, SizeError

ROOT = Path(__file__).parents[2]
VERBS = (
    ["generate"],
    ["extend"],
    ["fill"],
    ["connect"],
    ["loop"],
    ["edit"],
    ["storyboard"],
    ["render"],
    ["prepare"],
    ["prepare", "videos"],
    ["prepare", "emoji"],
    ["prepare", "shards"],
    ["train"],
    ["train", "codec"],
    ["train", "transformer"],
    ["train", "judge"],
    ["evaluate", "codec"],
    ["evaluate", "judge"],
    ["evaluate", "physics"],
    ["evaluate", "coherence"],
    ["evaluate", "faithful"],
    ["evaluate", "distribution"],
    ["evaluate", "abilities"],
    ["evaluate", "storyboards"],
    ["evaluate", "length"],
    ["info"],
    ["export"],
)


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
    """Fails when `import torch` (or numpy, pydantic, rich) is put at the top of a module of cli/."""
    program = (
        "import sys; from vitascope.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'numpy', 'av', 'pydantic', 'rich', 'mujoco', 'tokenizers'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds = []
    for _ in range(5):  # the processor's time, since other tests run at the same time
        before = os.times()
        assert run_command("--help").returncode == 0
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
        if seconds[-1] < 0.3:
            break
    assert min(seconds) < 0.3, f"--help took {min(seconds):.2f} s"


def test_processes_that_draw_start_without_torch() -> None:
    """Fails when a module that rendering needs imports torch: each process would take seconds longer to start."""
    program = "import sys, vitascope.data.render; sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_and_is_in_the_documentation(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*verb, "--help"]) == 0
    assert f"vitascope {' '.join(verb)}" in capsys.readouterr().out
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"vitascope {' '.join(verb)}" in page.read_text(encoding="utf-8") for page in pages)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"vitascope {vitascope.__version__}\n"


def test_the_package_offers_only_what_it_has() -> None:
    assert {"load", "Video", "Pipeline", "Sampling", "__version__"} <= set(dir(vitascope))
    assert vitascope.Sampling().seed == 0
    assert vitascope.Video.__module__ == "vitascope.video.clip"
    assert vitascope.Pipeline.__module__ == "vitascope.generate.pipeline"
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = vitascope.laod


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
        "def load(model, **options): print('ready', flush=True); time.sleep(30)\n"
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


def test_progress_away_from_a_terminal_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.progress import progress

    clock = iter([0.0, 1.0, 6.0, 7.0])
    monkeypatch.setattr("vitascope.progress.time.monotonic", lambda: next(clock))
    with progress("cat.mp4") as on_progress:
        for done in (1, 3, 4):
            on_progress(done, 10)
    assert capsys.readouterr().err == "cat.mp4: 3/10, 18 s left\n"


def test_the_time_left_follows_from_what_this_run_has_done_of_late(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitascope.progress import progress

    clock = iter([0.0, 1.0, 11.0, 100.0, 160.0])
    monkeypatch.setattr("vitascope.progress.time.monotonic", lambda: next(clock))
    with progress("clips") as on_progress:
        for done in (900, 910, 911, 917):  # 900 were there when the run began
            on_progress(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "clips: 910/1000, 90 s left",
        "clips: 911/1000, 7921 s left",  # one in the last 89 s
        "clips: 917/1000, 830 s left",  # six in the last minute
    ]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_h_is_help_and_help_shows_no_huge_numbers(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*verb, "-h"]) == 0
    short = capsys.readouterr().out
    assert cli.main([*verb, "--help"]) == 0
    assert capsys.readouterr().out == short
    assert "-h, --help" in short
    assert "9223372036854775807" not in short


@pytest.mark.parametrize("seed", ["-1", str(2**63), "9" * 20, "9" * 5000, "1.5", "x", ""])
def test_wrong_seeds_are_one_line(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["generate", "a cat"], ["render", "-o", "x", "--clips", "1"], ["evaluate", "physics"]):
        assert cli.main([*words, f"--seed={seed}"]) == 2
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("vitascope tr", "train"), ("vitascope train co", "codec"), ("vitascope generate --see", "--seed")],
)
def test_shells_complete_verbs_and_options(line: str, wanted: str) -> None:
    """Fails when `main` doesn't answer the shell, or a verb's options are only built when it runs."""
    environment = {
        "_VITASCOPE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        done = run_command()
    assert (done.returncode, done.stdout.split()) == (0, [wanted])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_a_shell_is_shown(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: shell)
    assert cli.main(["--show-completion"]) == 0
    assert "_VITASCOPE_COMPLETE" in capsys.readouterr().out
