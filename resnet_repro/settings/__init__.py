"""The settings and their checks, one module per group of `conf/`."""
