"""The tests; a package, so that test modules find `tests.support`."""
