"""Networks of the user's own: what registers them, finds their code and identifies it.

Nothing here imports torch: a command line is checked before that is needed.
"""
