"""Executing a plan's runs: on this machine, or as jobs on a cluster."""
