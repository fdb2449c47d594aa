"""Pictures of an experiment's results, as SVG and PNG."""
