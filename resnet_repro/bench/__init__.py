"""How fast each way to train is on this machine, beside a baseline loop and a lower bound."""
