"""Weights are opened, identified and loaded here: exports, checkpoints of runs, published files.

`identify` tells what a folder, file or name holds without reading its weights; `load_backbone`
loads it for evaluation, ``identify(...).build()`` for anything else. Nothing is loaded by halves,
and nothing in a file is run.
"""

from cmid.checkpoints.backbones import Backbone as Backbone
from cmid.checkpoints.backbones import TimmEncoder as TimmEncoder
from cmid.checkpoints.backbones import UntrainedEncoder as UntrainedEncoder
from cmid.checkpoints.backbones import identify as identify
from cmid.checkpoints.backbones import identify_file as identify_file
from cmid.checkpoints.backbones import load_backbone as load_backbone
from cmid.checkpoints.stored import StoredEncoder as StoredEncoder
from cmid.checkpoints.weight_files import open_weights as open_weights
