"""Other self-supervised methods, trained by the command that trains CMID.

    python tools/pretrain.py --model.class_path benchmarks.baselines.SimCLR

SimCLR, MoCo-v2, BYOL and DINO have the losses and heads of ``lightly`` (extra ``baselines``);
SimMIM and LeJEPA need no more than the core. Every method sees the two views of CMID.
"""

from cmid.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    contrastive=["MoCoV2", "SimCLR"],
    lejepa=["LeJEPA"],
    self_distillation=["BYOL", "DINO"],
    simmim=["SimMIM"],
)
