"""A plan's runs as SLURM jobs."""
