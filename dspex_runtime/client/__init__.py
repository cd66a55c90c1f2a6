"""What users hold: Runtime and references, synchronous and asyncio. Talks to the runtime and the modules; runs in neither.

connection  the control socket            channel_pool, mux  direct pipes: one thread each, one loop each
ops         operations, written once      calls, stream, async_calls, requests  what goes over the pipes
runtime, ref, aio  the public classes     spawn, address, target  how a runtime is started and found, and what it starts
"""

from dspex_runtime.client.runtime import Monitor as Monitor
from dspex_runtime.client.runtime import Runtime as Runtime
from dspex_runtime.client.runtime import connect as connect

__all__ = ["Monitor", "Runtime", "connect"]
