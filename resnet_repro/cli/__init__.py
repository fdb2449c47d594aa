"""The command line: from words to a composed configuration to a verb."""
