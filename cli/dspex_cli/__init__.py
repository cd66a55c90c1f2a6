"""The command line: parse, call the client, print, exit code."""
