"""Pure codec: messages, values and frames as bytes. No I/O, no clock, no thread."""
