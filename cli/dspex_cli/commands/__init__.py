"""One file per command; imported only when it is run. The table is what `dspex --help` prints."""

from __future__ import annotations

from typing import Final

# command -> (file, one line of help); a test compares the line with the command's own.
TABLE: Final[dict[str, tuple[str, str]]] = {
    "up": ("up", "Start the tree of a YAML file, in the foreground or with -d in the background."),
    "down": ("down", "Stop a runtime and everything in it, in order."),
    "reload": ("reload", "Bring what runs to what the file says now, with the least that does it."),
    "validate": ("validate", "Check a YAML file and list every mistake at once."),
    "schema": ("schema", "Print the JSON Schema of the YAML, for editors."),
    "ps": ("ps", "List modules, servers and supervisors."),
    "tree": ("tree", "Show the supervision tree with states."),
    "analyze": ("analyze", "Show which children made the latest start of the tree take as long as it did."),
    "status": ("status", "Show whether things run; exit 3 when one does not."),
    "info": ("info", "Show everything known about one child."),
    "lookup": ("lookup", "Show who is registered under a key; exit 3 when nobody is."),
    "call": ("call", "Call a module or a server and print the result."),
    "start": ("start", "Start a new child from a class, or a stopped one by its id."),
    "stop": ("stop", "Stop children in order; start brings them back."),
    "restart": ("restart", "Stop and start children; not counted as a crash."),
    "kill": ("kill", "Send a signal to children; counts as a crash."),
    "scale": ("scale", "Make a group of replicas larger or smaller; a child that is alone becomes one."),
    "rm": ("rm", "Stop children if they run, and forget them."),
    "param": ("param", "Read, set, list, roll back and watch parameters."),
    "checkpoint": ("checkpoint", "Save, list, compare and restore the state of modules."),
    "compile": ("compile", "Optimise a module in a process of its own, while it serves on."),
    "swap": ("swap", "Replace a running module by another version, without losing a call."),
    "versions": ("versions", "List the versions of a module that have served, newest first."),
    "rollback": ("rollback", "Swap a module back to a version that has served."),
    "logs": ("logs", "Print what modules wrote to stdout and stderr."),
    "events": ("events", "Print what happened in the tree."),
    "wait": ("wait", "Wait until children are in a state; exit 8 after the time-out."),
    "doctor": ("doctor", "Check what this machine allows: processes, descriptors, memory, kernel features."),
    "demo": ("demo", "Run the quickstart, kill a module in the middle of a question, and show what happens."),
    "completion": ("completion", "Print a completion script for bash, zsh or fish."),
}
