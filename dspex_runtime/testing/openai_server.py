"""An OpenAI-compatible endpoint on this machine, for tests and examples: scripted answers, faults on demand, a record of requests.

Owns its port, its threads and its connections from `with` to the end of it. Never reaches anything else.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from dspex_runtime.testing import openai_format
from dspex_runtime.testing.answers import Answer, Answers, NoAnswerError, Script
from dspex_runtime.testing.chat import Chat
from dspex_runtime.testing.faults import BadMarkers, Cut, Fault, FaultPlan, Latency, Status

__all__ = ["OpenAIServer", "Received"]

_CHAT_PATHS: Final = frozenset({"/v1/chat/completions", "/chat/completions"})
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time: the peer sees a reset, not an orderly end
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came.

    Attributes:
        headers: By name in small letters; `authorization` has the key.
        body: The JSON.
        chat: The messages, taken apart.
        faults: What it met.
    """

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    chat: Chat
    faults: tuple[Fault, ...]


class OpenAIServer:
    """An endpoint for `dspy.LM("openai/any", api_base=...)`, on a free port of 127.0.0.1, with a thread per connection.

        with OpenAIServer({"capital of France": {"answer": "Paris"}}) as server:
            server.inject(Status(429, retry_after=0.1))             # the next request
            server.inject(Cut(), every=3, times=None)               # every third one, until server.clear()
            lm = dspy.LM(**server.lm())                             # or in a configuration: {"lm": server.lm()}
            ...
            assert len(server.requests) == 2

    Args:
        answers: See `dspex_runtime.testing.answers`. What no answer fits is refused with status 400.
        default: The answer where none fits.
        latency: Seconds that each answer takes.
        port: 0: a free one.
    """

    def __init__(self, answers: Script, *, default: Answer | None = None, latency: float = 0.0, port: int = 0) -> None:
        self.answers = Answers(answers, default)
        self.latency = latency
        self.closing = threading.Event()
        self._plan = FaultPlan()
        self._requests: list[Received] = []
        self._http = _Http(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_POLL_S,), name="openai-server")
        self._thread.start()

    @property
    def api_base(self) -> str:
        """The URL for `api_base`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[Received]:
        """What came so far, in order; a copy."""
        return list(self._requests)

    def lm(self, model: str = "openai/scripted", api_key: str = "none", **options: Any) -> dict[str, Any]:
        """Return the `lm:` of a configuration, which are also the arguments of `dspy.LM`: neither cached nor tried again."""
        return {"model": model, "api_base": self.api_base, "api_key": api_key, "cache": False, "num_retries": 0, **options}

    def inject(self, fault: Fault, *, times: int | None = 1, every: int = 1) -> None:
        """Plan a fault for every `every`-th request from now on, `times` times; None: until `clear`."""
        self._plan.add(fault, times=times, every=every)

    def clear(self) -> None:
        """Forget the planned faults."""
        self._plan.clear()

    def close(self) -> None:
        """End every connection and thread. Doing it twice is fine."""
        self.closing.set()
        self._http.shutdown()
        self._http.end_connections()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> OpenAIServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, path: str, headers: Iterable[tuple[str, str]], body: Mapping[str, Any]) -> tuple[Received, int]:
        """Note a request and return it with its number, counted from 1. For the connections' threads."""
        chat = Chat.of(body.get("messages") or (), str(body.get("model", "")))
        received = Received(path, {name.lower(): value for name, value in headers}, body, chat, self._plan.take())
        self._requests.append(received)
        return received, len(self._requests)


class _Http(ThreadingHTTPServer):
    daemon_threads = False  # joined at the end
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], owner: OpenAIServer) -> None:
        super().__init__(address, _Handler)
        self.owner = owner
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Wake the threads that wait for a next request."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # gone already


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else an answer waits 40 ms for an acknowledgement
    server: _Http

    def do_POST(self) -> None:
        owner = self.server.owner
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            return self._refuse(Status(400, message="the body is not JSON"))
        received, number = owner.record(self.path, self.headers.items(), body)
        waits = owner.latency + sum(fault.seconds for fault in received.faults if isinstance(fault, Latency))
        if waits and owner.closing.wait(waits):
            return None
        if self.path not in _CHAT_PATHS:
            return self._refuse(Status(404, message=f"no {self.path} here; there is /v1/chat/completions"))
        status = next((fault for fault in received.faults if isinstance(fault, Status)), None)
        return self._refuse(status) if status is not None else self._answer(received, number)

    def _answer(self, received: Received, number: int) -> None:
        bad = next((fault.text for fault in received.faults if isinstance(fault, BadMarkers)), None)
        count = int(received.body.get("n") or 1)
        try:
            texts = [bad if bad is not None else self.server.owner.answers(received.chat) for _ in range(count)]
        except NoAnswerError as exc:
            return self._refuse(Status(400, message=str(exc)))
        except Exception as exc:  # an answer is a function of the user's: whoever asks should see what it raised
            return self._refuse(Status(500, message=f"the script failed: {type(exc).__name__}: {exc}"))
        prompt = "\n".join(text for _, text in received.chat.messages)
        model = received.chat.model
        cut = next((fault.after_bytes for fault in received.faults if isinstance(fault, Cut)), None)
        if received.body.get("stream"):
            with_usage = bool((received.body.get("stream_options") or {}).get("include_usage"))
            events = openai_format.events(texts[0], prompt, model, number, with_usage=with_usage)
            parts = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
            return self._send(
                200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}, [*parts, b"0\r\n\r\n"], cut
            )
        body = json.dumps(openai_format.completion(texts, prompt, model, number)).encode()
        return self._send(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, [body], cut)

    def _refuse(self, status: Status) -> None:
        kind = {429: "rate_limit_error", 401: "authentication_error", 400: "invalid_request_error"}.get(status.code, "server_error")
        body = json.dumps(openai_format.error(status.message, kind)).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if status.retry_after is not None:
            headers["Retry-After"] = f"{status.retry_after:g}"
        self._send(status.code, headers, [body], None)

    def _send(self, status: int, headers: Mapping[str, str], parts: list[bytes], cut: int | None) -> None:
        """Send the head with the first part in one write, then each further part in its own."""
        reason = self.responses.get(status, ("",))[0]
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        parts = [head.encode() + parts[0], *parts[1:]]
        if cut is not None:
            self.connection.sendall(b"".join(parts)[:cut])
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close_connection = True
            return
        try:
            for part in parts:
                self.connection.sendall(part)
        except OSError:  # the caller had enough
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Stay silent: what came is in `requests`."""
