"""`dspex demo`: the quickstart tree, narrated; every claim it prints is checked while it prints it."""
