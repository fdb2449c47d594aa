"""Networks of users and libraries: registering them, importing their code, and its digest.

Nothing here imports torch, because a command line is checked before torch is needed.
"""
