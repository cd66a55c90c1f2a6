"""Values on their way in: checked, as bytes, and safe from whoever gave them. Never writes anything.

Lists, dicts and other objects are stored as what their bytes decode to, which is what every other process reads: whoever keeps
the object that it has set cannot change the parameter with it.
"""

from __future__ import annotations

from typing import Any, Final

from dspex_runtime.errors import ConstraintViolationError, ParameterError, UnserialisableError
from dspex_runtime.params import values
from dspex_runtime.params.constraints import check, refusal, whose
from dspex_runtime.params.spec import ParameterSpec, ParameterType
from dspex_runtime.wire.codec import Codec

__all__ = ["Coder", "Encoded"]

Encoded = bytes | memoryview

_SHARED_OBJECTS: Final = frozenset({ParameterType.LIST, ParameterType.DICT, ParameterType.ANY})
_CONSTANTS: Final = (int, float, bool, str, bytes, type(None))


class Coder:
    """Checks and encodes the values of one id.

    Args:
        id: Full id of the module; errors name it.
        codec: Of the process: a module's pickles what is not plain, a keeper's refuses it.
    """

    def __init__(self, id: str, codec: Codec) -> None:
        self._id = id
        self._codec = codec

    def accept(self, name: str, spec: ParameterSpec, value: Any, *, was_checked: bool = False) -> tuple[Any, Encoded]:
        """Return a value as it will be stored, and its bytes.

        Args:
            name: Of the parameter.
            spec: Of the parameter.
            value: Any.
            was_checked: The value was accepted before: where the user's own check is not at hand, it is not needed.

        Raises:
            ConstraintViolationError: It is refused.
            ParameterError: It has to be checked by a function that is in the module's process only.
        """
        if spec.custom is None and spec.custom_name is not None and not was_checked:
            raise ParameterError(
                f"{name} of {self._id!r} has a check of its own ({spec.custom_name}), which only its running module can make; "
                "nothing was set",
                name=name,
                id=self._id,
                hint="start the module, then set it",
            )
        try:
            value = check(spec, value, name=name)
            data = values.encode(self._codec, value)
        except ConstraintViolationError as exc:
            whose(exc, self._id)
            raise
        except UnserialisableError as exc:
            part = (exc.path or "").removeprefix("message[0]")
            expected = "a value that another process can read" + (f"; {name}{part} is none" if part else "")
            raise whose(refusal(name, "type", "plain data", value, expected), self._id) from exc
        if spec.type in _SHARED_OBJECTS and type(value) not in _CONSTANTS:
            value = self.decode(data)
        return value, data

    def again(self, name: str, spec: ParameterSpec, data: Encoded) -> Any:
        """Return the value of bytes that were accepted before; it is nobody else's. A start waits for this: 1 ms for 1 MB of text.

        Raises:
            ConstraintViolationError: Today it is refused.
            ParameterError, ProtocolError: It is none.
        """
        return check(spec, self.decode(data), name=name)

    def encode(self, value: Any) -> Encoded:
        """Return the bytes of a value. Raises UnserialisableError."""
        return values.encode(self._codec, value)

    def decode(self, data: Encoded) -> Any:
        """Return the value of these bytes. Raises ParameterError or ProtocolError."""
        return values.decode(self._codec, data)

    def grad(self, data: bytes | None) -> Any:
        """Return the accumulated gradient of these bytes."""
        return None if data is None else self.decode(data)

    def meta(self, name: str, spec: ParameterSpec) -> Encoded:
        """Return what readers may know of a parameter.

        Raises:
            ParameterError: Its declaration has something in it that no other process can read.
        """
        try:
            return self.encode(spec.to_meta())
        except UnserialisableError as exc:
            raise ParameterError(f"{name}: its declaration cannot be told to others: {exc}", name=name, id=self._id) from exc
