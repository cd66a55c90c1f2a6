"""A call of a proxy, in the module's process: run as the caller would have run it, and noted for it."""
