"""Pure decisions. Nothing in this folder reads a clock, does I/O, starts a thread or knows the wire."""
