"""Reconstruction of masked pixels in space and in frequency.

Source: CMID (arXiv:2304.09670); the frequency term follows the focal frequency loss
(Jiang et al., ICCV 2021, arXiv:2012.12821).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cmid.precision import full_precision
from cmid.processes import mean_over_processes
from cmid.views.masks import expand_mask


def focal_l1_loss(error: Tensor, mask: Tensor, *, alpha: float = 0.2, views: int = 1) -> Tensor:
    r"""L1 distance on masked pixels, large errors weighted up.

    .. math:: l = |e| (2\sigma(\alpha |e|) - 1), \qquad L = \frac{\sum l m}{(\sum m + 10^{-5}) C}

    Args:
        error: ``(V * B, C, H, W)`` reconstructed minus true pixels, float32; 0 on visible ones.
        mask: ``(V * B, 1, H, W)``, 1 where the student did not see the pixel, float32.
        views: number ``V`` of views whose batches lie one after the other; each has its own loss,
            and the mean of them is returned.

    Returns:
        Scalar, float32.

    Example:
        >>> float(focal_l1_loss(torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8)))
        0.0
    """
    # tanh is the same as 2 sigmoid(alpha |error|) - 1 but for the sign, which cancels.
    loss = (error * torch.tanh(0.5 * alpha * error)).reshape(views, -1).sum(dim=1)  # (V,)
    return (loss / (mask.reshape(views, -1).sum(dim=1) + 1e-5)).mean() / error.shape[1]


def focal_frequency_loss(error: Tensor) -> Tensor:
    r"""Distance of the batch's mean spectra, frequencies that are hard weighted up.

    With :math:`F` the orthonormal 2-D Fourier transform averaged over the batch (and over all
    processes) and :math:`d^2 = |F_{pred} - F_{target}|^2`, the loss is the mean of
    :math:`w\,d^2`, where :math:`w = \log(1 + d) / \max \log(1 + d)` carries no gradient.
    The transform is linear: the mean error has the mean spectrum, at 1/B of the cost.

    Args:
        error: ``(V, C, H, W)`` mean over a batch of reconstructed minus true pixels, float32.
            Views are never averaged together: their colours differ, and so do their mean spectra.
            Each has its own maximum, and the mean of their losses is returned.

    Returns:
        Scalar, float32; 0 where there is no error.
    """
    spectrum = torch.view_as_real(torch.fft.fft2(mean_over_processes(error), norm="ortho"))
    squared = spectrum.square().sum(dim=-1)  # (V, C, H, W)
    weight = torch.log1p(squared.detach().sqrt())
    largest = weight.amax(dim=(1, 2, 3), keepdim=True)
    weight = (weight / largest).nan_to_num(nan=0.0).clamp(0, 1)
    return (weight * squared).mean()


class MaskedReconstructionLoss(nn.Module):
    """Spatial and frequency losses of a reconstruction, on masked pixels.

    Before the transform the prediction is blended with a constant on visible pixels, so that
    (nearly) all gradient of the frequency term flows through masked ones.

    Args:
        visible_weight: share of the prediction that stays on visible pixels.
        views: number ``V`` of views in a batch, one after the other. Both terms are computed for
            each view by itself and then averaged.

    Example:
        >>> loss = MaskedReconstructionLoss()
        >>> image = torch.rand(2, 3, 32, 32)
        >>> terms = loss(image, image, torch.ones(2, 4, 4))
        >>> {name: float(term) for name, term in terms.items()}
        {'spatial': 0.0, 'frequency': 0.0}
    """

    def __init__(self, *, visible_weight: float = 1e-3, views: int = 1) -> None:
        super().__init__()
        self.visible_weight = visible_weight
        self.views = views

    def forward(
        self, pred: Tensor, target: Tensor, mask: Tensor, mean: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute both terms.

        Args:
            pred: ``(V * B, C, H, W)`` reconstruction.
            target: ``(V * B, C, H, W)`` unmasked, normalised views.
            mask: ``(V * B, h, w)`` blocks, 1 or True where masked; ``H`` and ``W`` are multiples of
                ``h`` and ``w``.
            mean: ``(V, C, H, W)`` mean reconstruction of each view's batch, by default that of
                ``pred``, whose visible pixels are not read otherwise.

        Returns:
            ``{"spatial": scalar, "frequency": scalar}``, float32.
        """
        pixels = expand_mask(mask, pred.shape[-2:])
        with full_precision(pred):
            pred, target = pred.float(), target.float()
            masked = (pred - target) * pixels
            # Blending the prediction x^ with (x^ + x) / 2 without gradient leaves of the error of a
            # visible pixel the share `visible_weight`, and half of the rest held constant.
            hidden = self._mean(masked)  # (V, C, H, W)
            whole = self._mean(pred) if mean is None else mean.float()
            seen = whole - self._mean(target) - hidden
            share = self.visible_weight
            blended = hidden + share * seen + (0.5 - 0.5 * share) * seen.detach()
            return {
                "spatial": focal_l1_loss(masked, pixels, views=self.views),
                "frequency": focal_frequency_loss(blended),
            }

    def _mean(self, images: Tensor) -> Tensor:
        """Mean image of each view, ``(V, C, H, W)``."""
        return images.unflatten(0, (self.views, -1)).mean(dim=1)
