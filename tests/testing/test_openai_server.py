"""dspy's own client against the local endpoint: answers, streams, usage, every fault; nothing is left open."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from dspex_runtime.testing import BadMarkers, Chat, Cut, Latency, OpenAIServer, Status
from helpers.waiting import wait_until


@pytest.fixture(scope="module", autouse=True)
def no_price_list() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or the first call looks for it in the network
        yield


def answer(chat: Chat) -> dict[str, str]:
    return {"answer": f"{chat.inputs['question']} indeed"}


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(answer) as server:
        yield server


@pytest.fixture(autouse=True)
def no_faults(server: OpenAIServer) -> None:
    server.clear()


@pytest.fixture
def ask(server: OpenAIServer) -> Iterator[Any]:
    with dspy.context(lm=dspy.LM(**server.lm(api_key="sk-mine")), adapter=dspy.ChatAdapter(), track_usage=True):
        yield dspy.Predict("question -> answer")


def test_it_answers_counts_and_records(server: OpenAIServer, ask: Any) -> None:
    before = len(server.requests)
    result = ask(question="so")
    assert result.answer == "so indeed"
    assert result.get_lm_usage()["openai/scripted"]["completion_tokens"] > 0
    (request,) = server.requests[before:]
    assert request.headers["authorization"] == "Bearer sk-mine"
    assert (request.chat.inputs, request.chat.wanted, request.faults) == ({"question": "so"}, ("answer",), ())


@pytest.mark.parametrize("adapter", [dspy.JSONAdapter(), dspy.XMLAdapter()], ids=lambda adapter: type(adapter).__name__)
def test_it_writes_what_the_adapter_wants(server: OpenAIServer, ask: Any, adapter: Any) -> None:
    with dspy.context(adapter=adapter):
        assert ask(question="so").answer == "so indeed"


def test_it_streams_and_can_be_awaited(ask: Any) -> None:
    async def both() -> tuple[str, str, str]:
        listener = dspy.streaming.StreamListener(signature_field_name="answer")
        chunks = [chunk async for chunk in dspy.streamify(ask, stream_listeners=[listener])(question="so")]
        return "".join(chunk.chunk for chunk in chunks[:-1]), chunks[-1].answer, (await ask.acall(question="now")).answer

    assert asyncio.run(both()) == ("so indeed", "so indeed", "now indeed")


FAILING = {
    "429": (Status(429, retry_after=0.01), dspy.LMRateLimitError),
    "500": (Status(500), dspy.LMServerError),
    "401": (Status(401), dspy.LMAuthError),
    "cut at once": (Cut(), dspy.LMTransportError),
    "cut in the middle": (Cut(300), dspy.LMTransportError),
}


@pytest.mark.parametrize(("fault", "error"), FAILING.values(), ids=FAILING)
def test_a_fault_is_dspys_error_and_the_next_request_is_answered(server: OpenAIServer, ask: Any, fault: Any, error: Any) -> None:
    server.inject(fault)
    with pytest.raises(error):
        ask(question="so")
    assert server.requests[-1].faults == (fault,)
    assert ask(question="so").answer == "so indeed"


def test_dspy_tries_again_when_it_is_told_to(server: OpenAIServer, ask: Any) -> None:
    server.inject(Status(429, retry_after=0.01))
    with dspy.context(lm=dspy.LM(**server.lm(num_retries=1))):
        assert ask(question="so").answer == "so indeed"


def test_bad_markers_make_dspy_ask_once_more_for_json(server: OpenAIServer, ask: Any) -> None:
    before = len(server.requests)
    server.inject(BadMarkers())
    assert ask(question="so").answer == "so indeed"
    assert [bool(request.faults) for request in server.requests[before:]] == [True, False]


def test_an_answer_that_takes_longer_than_the_caller_waits_is_a_time_out(server: OpenAIServer, ask: Any) -> None:
    server.inject(Latency(0.5))
    with dspy.context(lm=dspy.LM(**server.lm(timeout=0.05))), pytest.raises((dspy.LMTimeoutError, dspy.LMTransportError)):
        ask(question="so")


def test_a_fault_may_come_back(server: OpenAIServer, ask: Any) -> None:
    server.inject(Status(500), every=2, times=None)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(ask(question="so").answer)
        except dspy.LMServerError:
            outcomes.append("failed")
    assert outcomes == ["so indeed", "failed"] * 2


def test_many_ask_at_once(server: OpenAIServer) -> None:
    lm = dspy.LM(**server.lm())
    # Built once: dspy parses signatures, which Python before 3.11.8 and 3.12.2 cannot do in several threads at once (gh-106905).
    program = dspy.Predict("question -> answer")

    def one(n: int) -> str:
        with dspy.context(lm=lm):
            return str(program(question=f"q{n}").answer)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(24))) == [f"q{n} indeed" for n in range(24)]


def post(server: OpenAIServer, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(server.api_base.removeprefix("http://").removesuffix("/v1"), timeout=10)
    connection.request("POST", path, body)
    response = connection.getresponse()
    result = response.status, json.loads(response.read())
    connection.close()
    return result


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/completions", b"{}", 404, "no /v1/completions here"),
        ("/v1/chat/completions", b"{", 400, "not JSON"),
        ("/v1/chat/completions", b'{"messages": []}', 500, "the script failed: KeyError"),
    ],
)
def test_what_it_cannot_answer_is_an_error_that_says_why(
    server: OpenAIServer, path: str, body: bytes, status: int, words: str
) -> None:
    found, error = post(server, path, body)
    assert found == status
    assert words in error["error"]["message"]


def test_several_choices_may_be_asked_for(server: OpenAIServer) -> None:
    body = {"messages": [{"role": "user", "content": "[[ ## question ## ]]\nso"}], "n": 3}
    assert len(post(server, "/v1/chat/completions", json.dumps(body).encode())[1]["choices"]) == 3


@pytest.mark.process
def test_closing_it_ends_threads_and_connections_also_those_that_wait() -> None:
    server = OpenAIServer({}, default="x", latency=60)
    host = server.api_base.removeprefix("http://").removesuffix("/v1")
    idle = http.client.HTTPConnection(host, timeout=10)
    idle.connect()
    waiting = http.client.HTTPConnection(host, timeout=10)
    waiting.request("POST", "/v1/chat/completions", b'{"messages": []}')
    wait_until(lambda: server.requests, what="the request")
    server.close()
    server.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        waiting.getresponse()
    idle.close()
    waiting.close()
