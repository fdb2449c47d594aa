"""The tables of the ResNet papers, runnable.

The papers, by the keys that the code cites:

    [He15]   Deep Residual Learning for Image Recognition, arXiv:1512.03385
    [He16]   Identity Mappings in Deep Residual Networks, arXiv:1603.05027
    [Xie17]  Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431
"""

__version__ = "0.1.0"
