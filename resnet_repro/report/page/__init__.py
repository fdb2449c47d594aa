"""One HTML page of all that is recorded."""
