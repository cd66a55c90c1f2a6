"""The runtime's shared parameters as this module reads them (`dx.Shared`). Never writes one: only the runtime does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dspex_runtime.errors import ParameterNotFoundError
from dspex_runtime.host.tables import OthersTable
from dspex_runtime.state.protocol import SHARED

if TYPE_CHECKING:
    from dspex_runtime.wire.codec import Codec


class SharedParameters(OthersTable):
    """Reads them, on any thread."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec, SHARED)

    def _without(self) -> ParameterNotFoundError:
        return ParameterNotFoundError("the runtime has no shared parameters", hint="the tree's `shared` section declares them")
