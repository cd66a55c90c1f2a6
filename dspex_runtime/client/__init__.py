"""What users hold: Runtime and references, synchronous and asyncio. Talks to the runtime and the modules; runs in neither.

connection, incoming, downs   the control socket         channel_pool, mux, mux_links  direct pipes: one thread each, one loop each
asking, *_ops, naming         operations, written once   calls, stream, async_*        what goes over the pipes
requests, collection          sent now, awaited later    spawn, address, target        how one is started and found, what it starts
runtime, ref, aio, async_ref  the public classes
"""

from dspex_runtime.client.runtime import Monitor as Monitor
from dspex_runtime.client.runtime import Runtime as Runtime
from dspex_runtime.client.runtime import connect as connect

__all__ = ["Monitor", "Runtime", "connect"]
