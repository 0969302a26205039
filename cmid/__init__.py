"""Self-supervised pretraining of remote-sensing backbones with CMID (arXiv:2304.09670).

Importing the package imports nothing heavy; each room (``cmid.losses``, ``cmid.models``,
``cmid.data``, ...) is imported where it is used.
"""

__version__ = "0.1.0"
