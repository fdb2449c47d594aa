"""Training speed on this machine, compared with a baseline loop and a lower bound."""
