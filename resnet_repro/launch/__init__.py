"""Carrying out the runs of a plan: on this machine, or as jobs of a cluster."""
