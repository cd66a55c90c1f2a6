"""An optimizer at work in a process of its own: what it gets, how it is watched, what comes out."""
