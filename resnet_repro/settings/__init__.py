"""What a user can set, one module for each group of `conf/`, checked."""
