"""What may be said of results beside the paper's numbers: statistics, verdicts, claims."""
