"""Owners with their parts, as one: held in one moment, saved, put back, given what a compile came to; all of them or none."""
