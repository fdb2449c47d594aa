"""What a plan costs on this machine, and which runs to spend a given time on."""
