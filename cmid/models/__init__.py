"""Models of CMID: the masked encoder on timm, the heads, the EMA teacher."""

from cmid.models.encoder import MaskedEncoder as MaskedEncoder
from cmid.models.heads import LocalHead as LocalHead
from cmid.models.heads import Predictor as Predictor
from cmid.models.heads import Projector as Projector
from cmid.models.heads import ReconstructionHead as ReconstructionHead
from cmid.models.teacher import EMATeacher as EMATeacher
from cmid.models.teacher import ema_momentum as ema_momentum
