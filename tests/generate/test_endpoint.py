"""Expansion by an endpoint: what is asked of it, and every way in which it can fail, against a server of our own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vitascope.errors import ConfigError, EndpointError
from vitascope.generate.expand import endpoint
from vitascope.generate.expand.endpoint import Endpoint, expand, expand_storyboard
from vitascope.generate.requests import Storyboard, StoryboardShot


class Service(ThreadingHTTPServer):
    """A server that records requests and sends the configured answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.status, self.body = 200, answer("a white cat jumps")
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.server_port}/v1/", "small", "secret")


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
        self.server.may_answer.wait()
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def answer(text: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


@pytest.fixture
def service() -> Iterator[Service]:
    """A server on a free port."""
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


def test_a_question_is_one_of_chat_completions(service: Service):
    service.body = answer(' "A white cat\n jumps. " ')
    assert expand(service.endpoint, "一只猫", 7) == "A white cat jumps."
    (asked,) = service.asked
    assert (asked["path"], asked["key"], asked["model"], asked["seed"]) == (
        "/v1/chat/completions",
        "Bearer secret",
        "small",
        7,
    )
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["messages"][1]["content"] == "一只猫"


def test_a_storyboard_asks_shot_by_shot_with_what_holds_for_all(service: Service):
    shots = tuple(StoryboardShot(text=text, seconds=1) for text in ("it waves", "it jumps"))
    found = expand_storyboard(service.endpoint, Storyboard(text="a red robot", shots=shots), 0)
    assert [shot.text for shot in found.shots] == ["a white cat jumps"] * 2
    assert found.text == "a red robot"
    questions = [asked["messages"][1]["content"] for asked in service.asked]
    assert all("a red robot" in question for question in questions)
    assert ["it waves" in question for question in questions] == [True, False]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "answered 500 Internal Server Error"),
        (401, b"{}", "answered 401 Unauthorized"),
        (200, b"<html>", "something other than a prompt"),
        (200, b"[]", "something other than a prompt"),
        (200, b'{"choices": []}', "something other than a prompt"),
        (200, b"\xff\xfe", "something other than a prompt"),
        (200, answer(None), "something other than a prompt"),
        (200, answer(" "), "something other than a prompt"),
        (200, answer("a\x00b"), "something other than a prompt"),
    ],
)
def test_an_answer_that_is_none_is_one_line(service: Service, status: int, body: bytes, said: str):
    service.status, service.body = status, body
    with pytest.raises(EndpointError, match=said) as caught:
        expand(service.endpoint, "a cat", 0)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_service_that_does_not_answer_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.05)
    service.may_answer.clear()
    with pytest.raises(EndpointError, match="timed out"):
        expand(service.endpoint, "a cat", 0)


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(EndpointError, match="refused"):
        expand(Endpoint(f"http://127.0.0.1:{port}", "small"), "a cat", 0)


@pytest.mark.parametrize(("url", "model"), [("file:///etc/passwd", "m"), ("localhost:8000", "m"), ("http://a", "")])
def test_what_is_no_endpoint_is_refused(url: str, model: str):
    with pytest.raises(ConfigError, match="endpoint"):
        Endpoint(url, model)
