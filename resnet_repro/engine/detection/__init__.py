"""Training and testing of object detectors."""
