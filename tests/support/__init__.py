"""What test modules share, so that none imports another; fixtures are in conftest.py."""
