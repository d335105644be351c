"""Prompts expanded by a language model behind an OpenAI-compatible chat completions endpoint."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from urllib.error import HTTPError, URLError

from vitascope.errors import ConfigError, EndpointError, PromptError, reason
from vitascope.files import parse_json
from vitascope.generate.requests import Storyboard
from vitascope.model.text import check_prompt

TIMEOUT = 30.0  # seconds for an answer
MAX_ANSWER = 1 << 20  # bytes
INSTRUCTIONS = (
    "You make prompts of a text-to-video model fuller. Answer with one paragraph of at most 60 words, in the prompt's "
    "own language, and with nothing else. Keep all that is said and contradict none of it; add how things look and "
    "move, the place, the light and the camera."
)


@dataclass(frozen=True)
class Endpoint:
    """Address of the service. `url` is its base, such as http://localhost:8000/v1; `key` may be empty.

    Raises:
        ConfigError: an address that isn't http or https, or no model.
    """

    url: str
    model: str
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse addresses other than http and https: urllib would open files, too."""
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(f"the endpoint {self.url!r} doesn't begin with http:// or https://")
        if not self.model:
            raise ConfigError(f"the endpoint {self.url} needs the name of a model")

    @property
    def address(self) -> str:
        """The URL of chat completions."""
        return f"{self.url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"


def expand(endpoint: Endpoint, prompt: str, seed: int, *, context: str = "") -> str:
    """The prompt, expanded by the language model. `context` is a storyboard's text for all shots.

    Raises:
        EndpointError: no answer in time, or an answer that is no prompt.
    """
    question = f"The whole video: {context}\nThe prompt, of one shot: {prompt}" if context.strip() else prompt
    messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
    body = {"model": endpoint.model, "messages": messages, "seed": seed % 2**31}
    try:
        answer = parse_json(_post(endpoint, json.dumps(body).encode()))
        content = answer["choices"][0]["message"]["content"]
        return check_prompt(" ".join(content.split()).strip('"“”'))
    except (ValueError, LookupError, TypeError, AttributeError, PromptError):
        raise EndpointError(f"{endpoint.address} answered with something other than a prompt") from None


def expand_storyboard(endpoint: Endpoint, storyboard: Storyboard, seed: int) -> Storyboard:
    """The storyboard with every shot's text expanded, one request per shot; the text for all shots stays unchanged.

    Raises:
        EndpointError: as `expand`.
    """
    texts = [expand(endpoint, shot.text, seed, context=storyboard.text) for shot in storyboard.shots]
    shots = [shot.replaced(text=text) for shot, text in zip(storyboard.shots, texts, strict=True)]
    return storyboard.replaced(shots=tuple(shots))


def _post(endpoint: Endpoint, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    try:
        request = urllib.request.Request(endpoint.address, body, headers, method="POST")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return response.read(MAX_ANSWER)
    except HTTPError as error:
        error.close()
        raise EndpointError(f"{endpoint.address} answered {error.code} {error.reason}") from None
    except URLError as error:
        raise EndpointError(f"{endpoint.address}: {_cause(error)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise EndpointError(f"{endpoint.address}: {reason(error)}") from None


def _cause(error: URLError) -> str:
    return reason(error.reason) if isinstance(error.reason, OSError) else str(error.reason)
