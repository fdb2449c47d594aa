"""The command line: parses words, composes the configuration, runs a verb."""
