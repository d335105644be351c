"""Damaged configs and wrong command lines end with one line; `benchmarks.robustness.fuzz` tries more of them."""

from __future__ import annotations

import pytest

from benchmarks.robustness import fuzz


@pytest.mark.parametrize("kind", [fuzz.fuzz_configs, fuzz.fuzz_command_lines])
def test_fuzzed_configs_and_command_lines_end_with_one_line(kind) -> None:
    """Fails when an error that is not the user's kind gets out of `vitascope.cli.main`."""
    outcome = kind(16)
    assert outcome.failures == []
    assert outcome.codes.total() == 16
    assert outcome.codes[2] > 4
