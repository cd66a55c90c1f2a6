"""Channels deliver whole messages in order, hold deadlines, tell how the other side ended, and leave no descriptor behind."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from dspex_runtime.errors import ProtocolError, UnserialisableError
from dspex_runtime.osproc.channel import Channel, FdChannel, pair
from dspex_runtime.wire.codec import Codec, UndecodableError
from dspex_runtime.wire.framing import HEADER, MAX_FRAME_BYTES, frame
from helpers.waiting import wait_gone, wait_readable, wait_until

# Python 3.12 warns of a fork beside threads, which is what some of these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PATIENCE_S = 20.0
CODEC = Codec()


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    a, b = (Channel(sock, CODEC) for sock in pair())
    with a, b:
        yield a, b


@pytest.fixture
def fd_ends() -> Iterator[tuple[FdChannel, FdChannel]]:
    a, b = (FdChannel(sock, CODEC) for sock in pair())
    with a, b:
        yield a, b


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Channel]]:
    sock, other = pair()
    with sock, Channel(other, CODEC) as channel:
        yield sock, channel


def soon(seconds: float = PATIENCE_S) -> float:
    return monotonic() + seconds


def fill(channel: Channel) -> int:
    """Send until the peer's queue is full; return how many messages went whole."""
    sent = 0
    while True:
        try:
            channel.send([1, sent, bytes(1000)], deadline=monotonic())
        except TimeoutError:
            return sent
        sent += 1


def note(outcome: list[BaseException], act: Callable[[], Any]) -> None:
    """Run in a thread what must raise."""
    try:
        act()
    except BaseException as exc:
        outcome.append(exc)


def forked(child: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    assert wait_gone([pid]) == []
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- pair


@pytest.mark.process
def test_a_pair_is_two_connected_blocking_sockets_closed_on_exec() -> None:
    for _ in range(50):
        a, b = pair()
        with a, b:
            assert [os.get_inheritable(s.fileno()) for s in (a, b)] == [False, False]
            assert [(s.family, s.type, s.getblocking()) for s in (a, b)] == [(socket.AF_UNIX, socket.SOCK_STREAM, True)] * 2
            a.send(b"x")
            assert b.recv(2) == b"x"


def test_importing_the_channel_imports_no_multiprocess() -> None:
    import subprocess

    script = (
        "import sys, dspex_runtime.osproc.channel; assert not {'multiprocess', 'asyncio', 'cloudpickle', 'dspy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


# ---- messages


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    a.send([1, 0])
    a.send_many([[1, n, "x" * n] for n in range(1, 100)])
    assert [b.recv(soon())[1] for _ in range(100)] == list(range(100))
    assert not b.pending


@pytest.mark.process
@pytest.mark.parametrize("deadline", [None, PATIENCE_S], ids=["blocking", "deadline"])
def test_a_message_larger_than_every_buffer_arrives_whole(ends: tuple[Channel, Channel], deadline: float | None) -> None:
    a, b = ends
    body = os.urandom(5_000_000)
    sender = threading.Thread(target=lambda: a.send([1, body], None if deadline is None else soon(deadline)))
    sender.start()
    assert b.recv(soon()) == [1, body]
    sender.join()
    a.send([1, "after"])
    assert b.recv(soon()) == [1, "after"]


@pytest.mark.process
def test_messages_of_many_threads_do_not_mix(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    sizes = [10, 1000, 40_000, 300_000]

    def work(n: int) -> None:
        for i in range(20):
            a.send([n, i, bytes([n]) * sizes[n]], soon() if i % 2 else None)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    seen: dict[int, list[int]] = {n: [] for n in range(4)}
    for _ in range(80):
        n, i, body = b.recv(soon())
        assert body == bytes([n]) * sizes[n]
        seen[n].append(i)
    for thread in threads:
        thread.join()
    assert seen == {n: list(range(20)) for n in range(4)}


def test_a_message_that_cannot_be_sent_leaves_the_channel_usable(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    with pytest.raises(UnserialisableError):
        a.send([1, object()])
    with pytest.raises(UnserialisableError):
        a.send_many([[1, "not sent"], [1, object()]])
    with pytest.raises(UnserialisableError, match="does not fit"):
        a.send([1, bytes(MAX_FRAME_BYTES)])
    a.send([1, "ok"])
    assert b.recv(soon()) == [1, "ok"]


def test_the_users_default_timeout_does_not_reach_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    socket.setdefaulttimeout(0.01)
    try:
        a, b = (Channel(sock, CODEC) for sock in pair())
    finally:
        socket.setdefaulttimeout(None)
    with a, b:
        assert b._sock.getblocking()


# ---- recv_ready, pending


def test_recv_ready_returns_what_is_here_and_never_blocks(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    assert channel.recv_ready() == []
    stream = b"".join(frame(CODEC.pack([1, n])) for n in range(3))
    sock.send(stream[:-1])
    assert channel.recv_ready() == [[1, 0], [1, 1]]
    assert channel.pending
    assert channel.recv_ready() == []
    sock.send(stream[-1:])
    assert channel.recv_ready() == [[1, 2]]
    assert not channel.pending
    sock.close()
    for _ in range(2):
        with pytest.raises(EOFError):
            channel.recv_ready()


def test_recv_and_recv_ready_share_what_is_buffered(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    a.send_many([[1, n] for n in range(4)])
    assert b.recv() == [1, 0]
    assert b.pending
    assert b.recv_ready() == [[1, 1], [1, 2], [1, 3]]


def test_messages_before_a_bad_one_are_returned_before_its_error(raw: tuple[socket.socket, Channel]) -> None:
    sock, _ = raw
    bad = Codec(pickle=True)
    with Channel(raw[1]._sock.dup(), bad) as channel:
        undecodable = b"\x93\x07\x05\xd4\x4d\x00"  # [7, 5, ext 77]
        sock.send(frame(b"\x91\x01") + frame(undecodable) + frame(b"\x91\x02"))
        assert channel.recv_ready() == [[1]]
        assert channel.pending
        with pytest.raises(UndecodableError) as info:
            channel.recv_ready()
        assert (info.value.kind, info.value.request) == (7, 5)
        assert channel.recv(soon()) == [2]


@pytest.mark.parametrize(
    "garbage", [HEADER.pack(-1), HEADER.pack(2**30), frame(b""), frame(b"\xc1"), b"GET / HTTP/1.1\r\n\r\n"], ids=repr
)
def test_garbage_is_a_protocol_error(raw: tuple[socket.socket, Channel], garbage: bytes) -> None:
    sock, channel = raw
    sock.send(frame(b"\x91\x01") + garbage)
    assert channel.recv(soon()) == [1]
    with pytest.raises(ProtocolError):
        channel.recv(soon())


# ---- deadlines


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.004, 0.05], ids=str)
def test_a_recv_ends_at_its_deadline_and_not_before(ends: tuple[Channel, Channel], seconds: float) -> None:
    deadline = monotonic() + seconds
    with pytest.raises(TimeoutError):
        ends[1].recv(deadline)
    assert monotonic() >= deadline
    ends[0].send([1])
    assert ends[1].recv(deadline) == [1], "what has arrived is returned after the deadline, too"


def test_a_part_received_before_a_timeout_is_kept(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    data = frame(CODEC.pack([1, "x" * 100_000]))
    sock.send(data[:50])
    with pytest.raises(TimeoutError):
        channel.recv(soon(0.02))
    sock.send(data[50:])
    assert channel.recv(soon()) == [1, "x" * 100_000]


@pytest.mark.process
def test_a_recv_without_deadline_after_one_with_waits_for_as_long_as_it_takes(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    with pytest.raises(TimeoutError):
        b.recv(soon(0.02))  # leaves SO_RCVTIMEO set
    received: list[Any] = []
    reader = threading.Thread(target=lambda: received.append(b.recv()))
    reader.start()
    reader.join(timeout=0.05)  # several times what SO_RCVTIMEO is set to
    a.send([1])
    reader.join(PATIENCE_S)
    assert received == [[1]]


@pytest.mark.process
def test_a_deadline_holds_under_a_rain_of_signals(ends: tuple[Channel, Channel]) -> None:
    hits: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        with pytest.raises(TimeoutError):
            ends[1].recv(soon(0.2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits


@pytest.mark.process
def test_a_signal_does_not_lose_a_message(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    before = signal.signal(signal.SIGALRM, lambda *_: a.send([1, "from the handler"]))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        assert b.recv() == [1, "from the handler"]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_send_to_a_peer_that_does_not_read_ends_at_its_deadline(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    whole = fill(a)
    deadline = soon(0.05)
    with pytest.raises(TimeoutError):
        a.send([1, whole, bytes(1000)], deadline)
    assert monotonic() >= deadline
    assert [b.recv(soon())[1] for _ in range(whole)] == list(range(whole))
    a.send([1, "nothing was cut off"])
    assert b.recv(soon()) == [1, "nothing was cut off"]


def test_a_message_cut_off_by_its_deadline_ends_sending_but_not_receiving(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    with pytest.raises(TimeoutError):
        a.send([1, bytes(5_000_000)], soon(0.5))
    with pytest.raises(BrokenPipeError, match="cut off"):
        a.send([2])
    b.send([3])
    assert a.recv(soon()) == [3]
    a.close()
    with pytest.raises(EOFError, match="inside a frame"):
        b.recv(soon())


@pytest.mark.process
def test_waiting_for_another_threads_send_ends_at_the_deadline(ends: tuple[Channel, Channel]) -> None:
    a, _ = ends
    fill(a)
    outcome: list[BaseException] = []
    blocked = threading.Thread(target=note, args=(outcome, lambda: a.send([1, bytes(100_000)])))
    blocked.start()
    wait_until(a._send_lock.locked)
    with pytest.raises(TimeoutError, match="another thread"):
        a.send([2], soon(0.02))
    a.close()
    blocked.join(PATIENCE_S)
    assert type(outcome[0]) is BrokenPipeError


# ---- the end


def test_what_was_sent_before_the_end_is_delivered_first(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    a.send_many([[1, n] for n in range(3)])
    a.close()
    assert [b.recv(soon()) for _ in range(3)] == [[1, 0], [1, 1], [1, 2]]
    for _ in range(2):
        with pytest.raises(EOFError, match=r"ended$"):
            b.recv(soon())


def die_after(act: Callable[[], None]) -> int:
    def child() -> None:
        act()
        os.kill(os.getpid(), signal.SIGKILL)

    return forked(child)


@pytest.mark.process
@pytest.mark.parametrize("reads", [True, False], ids=["read", "unread"])
def test_how_a_peer_died_tells_whether_it_had_read_everything(reads: bool) -> None:
    sock, other = pair()
    with Channel(sock, CODEC) as channel:
        with other:
            channel.send([1, "request"])

            def child() -> None:
                other.send(frame(CODEC.pack([2, "first"])))
                if reads:
                    other.recv(1000)

            pid = die_after(child)
        assert ended(pid) == -signal.SIGKILL
        assert channel.recv(soon()) == [2, "first"]
        for _ in range(2):
            with pytest.raises(EOFError if reads else ConnectionResetError):
                channel.recv(soon())


@pytest.mark.process
@pytest.mark.parametrize("blocked", [True, False], ids=["blocked", "later"])
def test_a_reset_is_told_to_the_reader_also_when_a_send_met_it_first(blocked: bool) -> None:
    sock, other = pair()
    with Channel(sock, CODEC) as channel:
        channel.send([1, "unread"])
        if blocked:
            fill(channel)
        outcome: list[BaseException] = []
        sender = threading.Thread(target=note, args=(outcome, lambda: channel.send([1, "more" * 50_000])))
        if blocked:
            sender.start()
            wait_until(channel._send_lock.locked)
        other.close()
        if not blocked:
            sender.start()
        sender.join(PATIENCE_S)
        assert isinstance(outcome[0], ConnectionError)
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                channel.recv(soon())
        with pytest.raises(BrokenPipeError):
            channel.send([1, "more"])


@pytest.mark.process
@pytest.mark.parametrize("deadline", [None, PATIENCE_S], ids=["blocking", "deadline"])
def test_close_wakes_a_blocked_reader_and_a_blocked_sender(deadline: float | None) -> None:
    a, b = (Channel(sock, CODEC) for sock in pair())
    fill(a)
    outcomes: dict[str, list[BaseException]] = {"recv": [], "send": []}
    until = None if deadline is None else soon(deadline)
    threads = [
        threading.Thread(target=note, args=(outcomes["recv"], lambda: a.recv(until))),
        threading.Thread(target=note, args=(outcomes["send"], lambda: a.send([1, bytes(10**6)], until))),
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: a._reading and a._send_lock.locked())
    fd = a.fileno()
    a.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert {name: type(exc) for name, (exc,) in outcomes.items()} == {"recv": EOFError, "send": BrokenPipeError}
    assert a.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    b.close()


def test_a_closed_channel_says_so_and_closing_it_again_is_fine(ends: tuple[Channel, Channel]) -> None:
    a, _ = ends
    a.close()
    a.close()
    with pytest.raises(EOFError, match="closed"):
        a.recv(soon())
    with pytest.raises(EOFError, match="closed"):
        a.recv_ready()
    with pytest.raises(BrokenPipeError, match="closed"):
        a.send([1])


# ---- fork


@pytest.mark.process
@pytest.mark.parametrize("kind", [Channel, FdChannel], ids=["Channel", "FdChannel"])
def test_a_forked_grandchild_does_not_keep_a_peer_waiting(kind: type[Channel]) -> None:
    sock, other = pair()
    alive_r, alive_w = os.pipe()  # its end tells that the grandchild is gone
    channel = Channel(sock, CODEC)

    def module() -> None:
        sock.close()
        mine = kind(other, CODEC)
        held = threading.Lock()
        held.acquire()
        os.close(alive_r)
        if os.fork() == 0:
            signal.pause()
        mine.send([1, "forked"])
        signal.pause()

    pid = forked(module)
    other.close()
    os.close(alive_w)
    with channel:
        assert channel.recv(soon()) == [1, "forked"]
        grandchildren = children_of(pid)
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) == -signal.SIGKILL
        with pytest.raises(EOFError):
            channel.recv(soon())  # while the grandchild lives
        assert not wait_readable(alive_r, timeout_s=0)
    for grandchild in grandchildren:
        os.kill(grandchild, signal.SIGKILL)
    assert wait_readable(alive_r)
    os.close(alive_r)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def test_it_can_be_closed_when_the_interpreter_ends_and_globals_are_gone(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "SHUT_RDWR", None)
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].recv()


@pytest.mark.process
def test_a_child_forked_while_a_thread_sends_and_reads_closes_its_copy(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    fill(a)
    outcome: list[BaseException] = []
    stuck = threading.Thread(target=note, args=(outcome, lambda: a.send([1, bytes(100_000)])))
    stuck.start()
    wait_until(a._send_lock.locked)

    def child() -> None:
        assert a.fileno() == b.fileno() == -1
        # The lock is held by a thread that the child does not have: a send must not wait for it.
        with pytest.raises(BrokenPipeError):
            a.send([1])

    assert ended(forked(child)) == 0
    a.close()
    stuck.join(PATIENCE_S)
    assert type(outcome[0]) is BrokenPipeError


@pytest.mark.process
def test_a_fork_does_not_disturb_the_parents_channels(ends: tuple[Channel, Channel]) -> None:
    a, b = ends
    assert ended(forked(lambda: None)) == 0
    a.send([1, "still here"])
    assert b.recv(soon()) == [1, "still here"]


# ---- descriptors


@pytest.mark.process
def test_descriptors_arrive_in_order_with_their_messages_closed_on_exec(fd_ends: tuple[FdChannel, FdChannel]) -> None:
    a, b = fd_ends
    files = [os.memfd_create(f"m{n}") for n in range(4)]
    inodes = [os.fstat(fd).st_ino for fd in files]
    a.send([1, "none"])
    a.send([1, "one"], fds=files[:1])
    a.send([1, "none"])
    a.send([1, "three"], fds=files[1:])
    got = []
    for expected in (0, 1, 0, 3):
        b.recv(soon())
        for _ in range(expected):
            fd = b.take_fd()
            got.append(os.fstat(fd).st_ino)
            assert not os.get_inheritable(fd)
            os.close(fd)
    assert got == inodes
    with pytest.raises(ProtocolError, match="without one"):
        b.take_fd()
    b.send([2, "back"], fds=files[:1])
    assert a.recv(soon()) == [2, "back"]
    os.close(a.take_fd())
    for fd in files:
        os.close(fd)


@pytest.mark.process
def test_a_large_message_brings_its_descriptor_once(fd_ends: tuple[FdChannel, FdChannel]) -> None:
    a, b = fd_ends
    fd = os.memfd_create("m")
    sender = threading.Thread(target=lambda: a.send([1, bytes(3_000_000)], soon(), fds=[fd]))
    sender.start()
    assert len(b.recv(soon())[1]) == 3_000_000
    sender.join()
    os.close(b.take_fd())
    with pytest.raises(ProtocolError):
        b.take_fd()
    os.close(fd)


@pytest.mark.process
def test_recv_ready_takes_descriptors_too(fd_ends: tuple[FdChannel, FdChannel]) -> None:
    a, b = fd_ends
    fd = os.memfd_create("m")
    a.send([1], fds=[fd])
    assert wait_readable(b.fileno())
    assert b.recv_ready() == [[1]]
    os.close(b.take_fd())
    os.close(fd)


@pytest.mark.process
@pytest.mark.parametrize("received", [True, False], ids=["received", "not received"])
def test_descriptors_that_nobody_took_are_closed_with_the_channel(received: bool) -> None:
    a, b = (FdChannel(sock, CODEC) for sock in pair())
    r, w = os.pipe()
    a.send([1], fds=[w])
    os.close(w)
    if received:
        b.recv(soon())
    a.close()
    assert not wait_readable(r, timeout_s=0)
    b.close()
    assert wait_readable(r)
    assert os.read(r, 1) == b""
    os.close(r)


@pytest.mark.process
def test_descriptors_lost_to_the_limit_are_a_clear_error_and_none_leaks(fd_ends: tuple[FdChannel, FdChannel]) -> None:
    a, b = fd_ends
    r, w = os.pipe()
    a.send([1], fds=[w] * 20)
    os.close(w)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(r)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 5, hard))
    try:
        with pytest.raises(OSError, match=r"ulimit -n") as info:
            b.recv(soon())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert info.value.errno == errno.EMFILE
    with pytest.raises(EOFError, match="closed"):
        b.recv(soon())
    assert select.select([r], [], [], 0)[0] == [r], "every received copy of the write end is closed"
    os.close(r)


@pytest.mark.process
def test_a_flood_of_descriptors_that_no_message_asks_for_is_refused(fd_ends: tuple[FdChannel, FdChannel]) -> None:
    a, b = fd_ends
    r, w = os.pipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    try:
        for _ in range(4):
            a.send([1], fds=[w] * 250)
            b.recv(soon())
        a.send([1], fds=[w] * 250)
        with pytest.raises(ProtocolError, match="1024 descriptors"):
            b.recv(soon())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.close(w)
    assert select.select([r], [], [], 0)[0] == [r]
    os.close(r)


def test_more_descriptors_than_one_message_takes_are_refused(fd_ends: tuple[FdChannel, FdChannel]) -> None:
    with pytest.raises(ValueError, match="253"):
        fd_ends[0].send([1], fds=[0] * 254)


def test_another_channel_over_the_stream_goes_on_inside_a_frame(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    whole, cut = frame(Codec().pack([1, "first"])), frame(Codec().pack([2, "second"]))
    sock.sendall(whole + cut[:-3])
    assert channel.recv_ready() == [[1, "first"]]
    unread = channel.unread
    assert unread == cut[:-3]
    other = Channel(socket.socket(fileno=os.dup(channel.fileno())), Codec())
    channel.let_go()
    channel.let_go()
    other.put_back(unread)
    assert other.recv_ready() == []
    other.send([3])  # nobody was told of an end
    sock.sendall(cut[-3:])
    assert other.recv() == [2, "second"]
    other.close()


def test_whole_frames_that_are_put_back_are_returned_before_the_stream_is_asked(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    channel.put_back(frame(Codec().pack([1])) + frame(Codec().pack([2])))
    sock.close()
    assert channel.recv_ready() == [[1], [2]]
    with pytest.raises(EOFError):
        channel.recv()


def test_behind_an_error_nothing_can_be_made_of_what_is_unread(raw: tuple[socket.socket, Channel]) -> None:
    sock, channel = raw
    sock.sendall(frame(Codec().pack([1])) + HEADER.pack(-1))
    assert channel.recv_ready() == [[1]]
    assert channel.unread is None
