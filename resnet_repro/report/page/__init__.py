"""The HTML page of all recorded results."""
