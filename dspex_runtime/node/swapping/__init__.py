"""Hot swap: another process takes the place of the one that serves, as the same incarnation of the same child."""
