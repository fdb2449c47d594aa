"""The cost of a plan on this machine, and the choice of runs for a time budget."""
