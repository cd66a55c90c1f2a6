"""A call of a proxy, on the caller's side: what goes with it, and where what comes back belongs."""
