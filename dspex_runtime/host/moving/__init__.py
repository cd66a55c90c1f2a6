"""One process becomes another one: what a swap moves, and how. Nothing of it is loaded before one begins."""
