"""How our results compare with the paper's numbers: statistics, verdicts, claims."""
