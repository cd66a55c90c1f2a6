"""Messages as bytes and back. Owns the packers, the limits and the choice between ext types, cloudpickle and refusal.

Never does I/O. A Codec is safe to share between threads. Two kinds of process use it:

    Codec(pickle=True)    clients and modules of one user: whatever is not on the list (see ext) travels as cloudpickle
    Codec()               the runtime and the CLI: never unpickles, never imports, runs no foreign code. What would need
                          that decodes to an Opaque, which packs to the same bytes: it forwards what it does not understand

Defined losses: bytearray and memoryview arrive as bytes; the order of a set is nobody's.

Limits: MAX_DEPTH levels of lists and dicts, and MAX_EXT_DEPTH levels of extension types inside one another (each level
of those takes 45 KB of C stack to unpack: a thread that unpacks needs the usual 8 MB of stack, or 2 MB at least).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any, Final

import msgpack
from msgpack import ExtType, unpackb

from dspex_runtime.errors import ProtocolError, UnserialisableError
from dspex_runtime.wire import ext
from dspex_runtime.wire.bodies import MAX_DEPTH, TRUSTED_BYTES, check_complete, head, reason
from dspex_runtime.wire.ext import Decode, Encode, Opaque
from dspex_runtime.wire.paths import Culprit, locate, message_parts

__all__ = ["MAX_DEPTH", "MAX_EXT_DEPTH", "Codec", "Opaque", "UndecodableError"]

MAX_EXT_DEPTH: Final = 32
_PACKER_BYTES: Final = 1024  # first buffer of a packer
_KEEP_BYTES: Final = 65536  # a packer that grew beyond this is dropped, its buffer with it


class UndecodableError(ProtocolError):
    """The frame is legal but one value in it cannot be rebuilt here: its class is not found, or refuses.

    Only this message is lost, the channel stays usable. `kind` and `request` are its first two items where they are
    numbers, so that the request can be failed.
    """

    def __init__(self, message: str, *, kind: int | None = None, request: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.request = request

    def to_wire(self) -> dict[str, Any]:
        """Return the error as plain data; peers know it as ProtocolError."""
        return {**super().to_wire(), "class": "ProtocolError"}


class Codec:
    """Packs and unpacks messages. Registrations are made before the codec is shared.

    Args:
        pickle: Whether values that are not on the list may travel as cloudpickle, and be unpickled and imported here.
    """

    def __init__(self, *, pickle: bool = False) -> None:
        self.pickle = pickle
        self._encoders: dict[type, tuple[int, Encode]] = dict(ext.ENCODERS)
        self._decoders: dict[int, Decode] = {
            **ext.DECODERS,
            ext.ENUM: partial(ext.as_enum, may_import=pickle),
            ext.NDARRAY: partial(ext.as_ndarray, may_import=pickle),
        }
        if pickle:
            self._decoders |= {ext.PREDICTION: ext.as_fields, ext.EXAMPLE: ext.as_fields, ext.CLOUDPICKLE: _unpickle}
        # Packers that nobody uses, by ext depth. A packer cannot be used twice at a time, and its `default` runs Python:
        # another thread, or an ext inside an ext, must not get the same one. pop and append are atomic and cost 45 ns
        # together; a new packer for each message costs 250.
        self._packers: list[list[Callable[[Any], bytes]]] = [[] for _ in range(MAX_EXT_DEPTH + 1)]
        self._hooks = [partial(self._decode_ext, depth) for depth in range(MAX_EXT_DEPTH + 1)]
        self._idle, self._hook = self._packers[0], self._hooks[0]  # of the message itself, for the hot path

    def register(self, cls: type, code: int, encode: Encode, decode: Decode) -> None:
        """Carry exactly this class (no subclass) under an ext code of 13 or more, but 15 and 20.

        Args:
            cls: The class.
            code: 13 to 127, not 15 or 20.
            encode: Object to payload; the payload may hold anything that can be packed. NotImplemented: pickle this one.
            decode: Payload to object.
        """
        if not ext.PREDICTION <= code <= 127 or code in (ext.MESSAGE, ext.CLOUDPICKLE):
            raise ValueError(f"ext code {code} cannot be registered; free are 13 to 127 without 15 and 20")
        self._encoders[cls] = (code, encode)
        self._decoders[code] = decode

    def on_ext(self, code: int, decode: Decode) -> None:
        """Replace the decoder of an ext code. It gets the payload as shown in `ext` (of CLOUDPICKLE: the bytes)."""
        self._decoders[code] = decode

    def pack(self, message: list[Any]) -> bytes:
        """Return a message as bytes.

        Raises:
            UnserialisableError: A value cannot be sent; `path` is where it is, e.g. `args[0]['model'].lock`.

        Cost: 0.35 us for a small call, 0.6 us more for a tuple in it.
        """
        idle = self._idle
        try:
            pack = idle.pop()
            body = pack(message)
        except Exception:  # no idle packer, a lone surrogate, or a value to refuse: all rare, all sorted out by trying again
            return self._pack_or_refuse(message)
        if len(body) <= _KEEP_BYTES:
            idle.append(pack)
        return body

    def unpack(self, body: bytes | memoryview) -> list[Any]:
        """Return the message in a body. Memory is bounded by a small multiple of the body.

        Raises:
            UndecodableError: A value in it cannot be rebuilt here.
            ProtocolError: The bytes are not a message.

        Cost: 0.6 us for a small call.
        """
        try:
            if len(body) > TRUSTED_BYTES:
                check_complete(body)
            message = unpackb(body, ext_hook=self._hook, strict_map_key=False, unicode_errors="surrogatepass")
        except UndecodableError as exc:
            exc.kind, exc.request = head(body)
            raise
        except ProtocolError:
            raise
        except Exception as exc:
            raise ProtocolError(f"{len(body)} bytes are not a message: {reason(exc)}") from exc
        if type(message) is not list or not message:
            raise ProtocolError(f"a message is a non-empty array; got {type(message).__name__} in {len(body)} bytes")
        return message

    def _pack_or_refuse(self, message: list[Any]) -> bytes:
        try:
            return self._pack(message, 0)
        except MemoryError:
            raise
        except Exception as exc:
            raise self._refusal(message, exc) from exc

    def _pack(self, value: Any, depth: int) -> bytes:
        idle = self._packers[depth]
        try:
            pack = idle.pop()
        except IndexError:
            pack = self._new_packer(depth)
        try:
            body = pack(value)
        except UnicodeEncodeError:
            # Lone surrogates (a file name that is not UTF-8). Allowing them from the start would cost every string 70 ns.
            return self._new_packer(depth, unicode_errors="surrogatepass")(value)
        if len(body) <= _KEEP_BYTES:
            idle.append(pack)
        return body

    def _new_packer(self, depth: int, **options: Any) -> Callable[[Any], bytes]:
        default = partial(self._encode_ext, depth + 1)
        packer = msgpack.Packer(default=default, strict_types=True, buf_size=_PACKER_BYTES, **options)
        pack: Callable[[Any], bytes] = packer.pack
        return pack

    def _encode_ext(self, depth: int, value: Any) -> ExtType:
        if depth > MAX_EXT_DEPTH:
            raise ValueError(f"tuples, sets and other extension types are nested more than {MAX_EXT_DEPTH} deep")
        if type(value) is Opaque:
            return ExtType(value.code, value.data)
        code, payload = self._payload(value)
        return ExtType(code, payload if code == ext.CLOUDPICKLE else self._pack(payload, depth))

    def _payload(self, value: Any) -> tuple[int, Any]:
        known = self._encoders.get(type(value))
        if known is not None and (payload := known[1](value)) is not NotImplemented:
            return known[0], payload
        if isinstance(value, Enum) and (payload := ext.enum_payload(value)) is not NotImplemented:
            return ext.ENUM, payload
        if (payload := ext.numpy_payload(value)) is not NotImplemented:
            return ext.NDARRAY, payload
        if not self.pickle:
            raise TypeError("its type has no form on the wire, and this process does not pickle")
        return ext.CLOUDPICKLE, _pickle(value)

    def _unpack(self, data: bytes | memoryview, depth: int) -> Any:
        if len(data) > TRUSTED_BYTES:
            check_complete(data)
        return unpackb(data, ext_hook=self._hooks[depth], strict_map_key=False, unicode_errors="surrogatepass")

    def _decode_ext(self, depth: int, code: int, data: bytes) -> Any:
        decode = self._decoders.get(code)
        if decode is None:
            return self._opaque(code, data, "its code is unknown here")
        if depth >= MAX_EXT_DEPTH:
            raise ProtocolError(f"extension types are nested more than {MAX_EXT_DEPTH} deep")
        payload = data if code == ext.CLOUDPICKLE else self._unpack(data, depth + 1)
        try:
            value = decode(payload)
        except Exception as exc:
            raise UndecodableError(f"a value of ext type {code} cannot be rebuilt here: {reason(exc)}") from exc
        return value if value is not NotImplemented else self._opaque(code, data, f"{payload!r:.200} is not found here")

    def _opaque(self, code: int, data: bytes, why: str) -> Opaque:
        if self.pickle or code < 0:
            raise UndecodableError(f"a value of ext type {code} cannot be rebuilt: {why}")
        return Opaque(data, code)

    def _refusal(self, message: list[Any], exc: Exception) -> UnserialisableError:
        culprit = Culprit("", message, exc)
        for path, item in message_parts(message):
            if (error := self._why_not(item)) is not None:
                pickles = _why_not_pickled if self.pickle else None
                culprit = locate(path, item, error, payload=self._payload_or_not, packs=self._why_not, pickles=pickles)
                break
        kind, error = type(culprit.value), culprit.error
        return UnserialisableError(
            f"cannot send {culprit.path or 'the message'}, a {kind.__module__}.{kind.__qualname__}: {reason(error)}",
            path=culprit.path,
            hint=None if self.pickle else "send plain values (numbers, text, lists, dicts, arrays, enums, times)",
        )

    def _why_not(self, value: Any) -> Exception | None:
        try:
            self._pack(value, 0)
        except Exception as exc:
            return exc
        return None

    def _payload_or_not(self, value: Any) -> Any:
        try:
            code, payload = self._payload(value)
        except Exception:  # the caller has the reason already
            return NotImplemented
        return payload if code != ext.CLOUDPICKLE else NotImplemented


def _pickle(value: Any) -> bytes:
    from dspex_runtime.wire.by_value import dumps

    return dumps(value)


def _why_not_pickled(value: Any) -> Exception | None:
    try:
        _pickle(value)
    except Exception as exc:
        return exc
    return None


def _unpickle(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)
