"""Curves and figures of an experiment, as SVG and PNG."""
