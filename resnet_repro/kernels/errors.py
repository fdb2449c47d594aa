"""What can go wrong with kernels."""


class KernelsError(Exception):
    """Kernels cannot be built or loaded here, or are wrong; the message says why in a few words."""
