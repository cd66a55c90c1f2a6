"""Blobs: whole, sealed, and valid for as long as anybody looks at them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator

import pytest

from dspex_runtime.errors import ParameterError
from dspex_runtime.params.blob import Blob


@pytest.fixture
def blob() -> Iterator[Blob]:
    blob = Blob.create(b"value" * 20_000, b"annex")
    yield blob
    blob.close()


@pytest.mark.parametrize("data_bytes", [0, 1, 63, 64, 65, 100_000])
@pytest.mark.parametrize("annex_bytes", [0, 1, 70_000])
def test_data_and_annex_come_back_whatever_their_length(data_bytes: int, annex_bytes: int) -> None:
    blob = Blob.create(os.urandom(data_bytes), b"a" * annex_bytes)
    data, annex = Blob.map(blob.fd)
    assert (len(data), annex) == (data_bytes, b"a" * annex_bytes)
    assert blob.data_bytes == data_bytes
    assert blob.size == os.fstat(blob.fd).st_size
    blob.close()


def test_a_view_stays_when_every_descriptor_is_closed(blob: Blob) -> None:
    data, _ = Blob.map(blob.fd)
    blob.close()
    assert bytes(data[-5:]) == b"value"


def test_nobody_can_change_it(blob: Blob) -> None:
    data, _ = Blob.map(blob.fd)
    assert data.readonly
    with pytest.raises(PermissionError):
        os.pwrite(blob.fd, b"x", 64)
    with pytest.raises(PermissionError):
        os.ftruncate(blob.fd, 10)
    with pytest.raises(PermissionError):
        fcntl.fcntl(blob.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def altered(*, seal: bool = True, at: int = 0, bytes_: bytes = b"", size: int | None = None) -> Callable[[Blob], int]:
    def make(blob: Blob) -> int:
        content = bytearray(os.pread(blob.fd, blob.size, 0))
        content[at : at + len(bytes_)] = bytes_
        fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, content[:size])
        if seal:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.fcntl(blob.fd, fcntl.F_GET_SEALS))
        return fd

    return make


REFUSED = {
    "one that could still be changed": (altered(seal=False), "seals"),
    "an empty one": (altered(size=0), "0 bytes"),
    "one that is cut short": (altered(size=80_000), "80000 bytes"),
    "one of another layout": (altered(at=8, bytes_=b"\x63"), "layout 99"),
    "something else": (altered(at=0, bytes_=b"what"), "no parameter value"),
    "a length beyond the end": (altered(at=23, bytes_=b"\xff"), "no parameter value"),
    "no memfd": (lambda _: os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), "no parameter value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_blob_is_refused(case: str, blob: Blob) -> None:
    make, text = REFUSED[case]
    fd = make(blob)
    with pytest.raises(ParameterError, match=text):
        Blob.map(fd)
    os.close(fd)


@pytest.mark.process
def test_closing_is_idempotent_and_leaves_nothing() -> None:
    blob = Blob.create(b"x")
    Blob.map(blob.fd)
    blob.close()
    blob.close()
    assert blob.fd == -1
