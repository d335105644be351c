"""The small pipeline of the generation tests."""

from __future__ import annotations

from tests.generate.conftest import model_folder as model_folder
from tests.generate.conftest import pipeline as pipeline
