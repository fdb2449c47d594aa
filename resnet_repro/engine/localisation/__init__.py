"""Training and testing of localisation."""
