"""`python -m dspex_runtime.node --boot FD`: become a runtime process. Started by the client or the CLI, never by hand."""

from __future__ import annotations

import argparse
import socket
import sys

from dspex_runtime.node.node import Node


def main() -> int:
    """Serve until the tree is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dspex_runtime.node", description=__doc__)
    parser.add_argument("--boot", type=int, required=True, help="descriptor of a connected socket that brings the configuration")
    boot_fd: int = parser.parse_args().boot
    return Node(socket.socket(fileno=boot_fd)).run()


if __name__ == "__main__":
    sys.exit(main())
