"""Image towers: one pass gives the pooled and the dense read-out, both in the space of the text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from cmid.data.statistics import ChannelStatistics
from cmid.models.dual_encoder import ImageFeatures
from cmid.models.evaluating import evaluating
from cmid.models.feature_map import FeatureMap
from cmid.views.colour import Standardize
from cmid.vision_language.clip.config import DENSE_MODES, DenseMode
from cmid.vision_language.clip.dense_attention import LastBlock


class ImageTower(nn.Module):
    """From images to pooled and dense features of width ``E``.

    Args:
        size: height and width of the images in pixels.
        embed_dim: ``E``.
        statistics: mean, deviation and range of the bands.
        dense_mode: how the last block of a vision transformer is read (`dense_attention`); feature
            maps of other towers are read directly, and leave it aside.
    """

    def __init__(
        self, *, size: int, embed_dim: int, statistics: ChannelStatistics, dense_mode: DenseMode
    ) -> None:
        super().__init__()
        if dense_mode not in DENSE_MODES:
            raise ValueError(f"dense_mode {dense_mode!r} is none of {', '.join(DENSE_MODES)}")
        if not statistics.is_8bit:
            raise ValueError(
                f"the image tower was trained on {statistics.kind or 'other than 8-bit'} values,"
                " and image-text data is 8-bit: give a backbone of 8-bit images"
            )
        self.size = size
        self.embed_dim = embed_dim
        self.statistics = statistics
        self.standardize = Standardize(statistics)
        self.dense_mode: DenseMode = dense_mode

    def forward(self, images: Tensor) -> ImageFeatures:
        """Read images once.

        Args:
            images: ``(B, C, size, size)`` as stored (uint8, or float of the same range).

        Returns:
            pooled ``(B, E)`` and dense ``(B, E, N, M)``, not normalised.

        Raises:
            ValueError: images of another size.
        """
        if tuple(images.shape[-2:]) != (self.size, self.size):
            raise ValueError(
                f"images of {images.shape[-2]}x{images.shape[-1]} pixels, the image tower takes"
                f" {self.size}x{self.size}"
            )
        return self.read(self.standardize(images))

    @abstractmethod
    def read(self, images: Tensor) -> ImageFeatures:
        """Read standardised images."""

    @abstractmethod
    def pretrained_modules(self) -> list[nn.Module]:
        """What locked-image tuning (LiT, arXiv:2111.07991) keeps as it is."""


class OpenCLIPTransformer(ImageTower):
    """A ``VisionTransformer`` of open_clip.

    Raises:
        ValueError: it pools its tokens by attention, which has no dense read-out.
    """

    def __init__(self, visual: Any, **about: Any) -> None:
        super().__init__(size=visual.image_size[0], embed_dim=visual.output_dim, **about)
        if visual.attn_pool is not None:
            raise ValueError("an image tower with attentional pooling has no dense read-out")
        self.visual = visual
        self.last_block = LastBlock(visual.transformer.resblocks[-1])

    def read(self, images: Tensor) -> ImageFeatures:
        pooled = self.visual(images)
        tokens = self.last_block.read(self.dense_mode)[:, 1:]
        projected = self.visual.ln_post(tokens) @ self.visual.proj  # (B, N*M, E)
        return ImageFeatures(pooled, projected.transpose(1, 2).unflatten(2, self.visual.grid_size))

    def pretrained_modules(self) -> list[nn.Module]:
        return [self.visual]


class OpenCLIPResNet(ImageTower):
    """A ``ModifiedResNet`` of open_clip; cells are read by the values of its attention pooling.

    Every cell passes as if it were all that the pooling attends to (MaskCLIP, arXiv:2112.01071).
    """

    def __init__(self, visual: Any, **about: Any) -> None:
        super().__init__(size=visual.image_size, embed_dim=visual.output_dim, **about)
        self.visual = visual
        self._map: Tensor | None = None
        visual.attnpool.register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, args: Any) -> None:
        self._map = args[0]

    def read(self, images: Tensor) -> ImageFeatures:
        pooled = self.visual(images)
        features, self._map = self._map, None
        assert features is not None
        pool = self.visual.attnpool
        cells = pool.c_proj(pool.v_proj(features.flatten(2).transpose(1, 2)))  # (B, N*M, E)
        return ImageFeatures(pooled, cells.transpose(1, 2).unflatten(2, features.shape[2:]))

    def pretrained_modules(self) -> list[nn.Module]:
        return [self.visual]


class TimmTower(ImageTower):
    """A timm trunk (an exported CMID backbone, or one of open_clip's) with its projection.

    A cell is read as an image that consists of this cell alone: through the trunk's own pooling,
    norm and the projection. Averages of cells and the pooled feature therefore agree wherever the
    pooling is linear, and any kind of pooling has a dense read-out.

    Args:
        trunk: timm model without classifier: ``(B, C, H, W)`` to ``(B, D)``.
        head: ``(B, D)`` to ``(B, E)``.
    """

    def __init__(self, trunk: Any, head: nn.Module, *, size: int, in_chans: int, **about: Any):
        super().__init__(size=size, **about)
        self.trunk = trunk
        self.head = head
        self.prefix = int(getattr(trunk, "num_prefix_tokens", 0))
        self.map = self._measure(in_chans)
        self.last_block: LastBlock | None = None
        if self.map.layout == "NLC" and self.dense_mode != "vanilla":
            self.last_block = LastBlock(trunk.blocks[-1])

    def read(self, images: Tensor) -> ImageFeatures:
        features = self.trunk.forward_features(images)
        pooled = self.head(self.trunk.forward_head(features))
        if self.last_block is not None:
            features = self.trunk.norm(self.last_block.read(self.dense_mode))
        grid = (images.shape[-2] // self.map.stride, images.shape[-1] // self.map.stride)
        dense = self.map.to_dense(features, grid)  # (B, D, N, M)
        cells = dense.permute(0, 2, 3, 1).flatten(0, 2)  # (B*N*M, D)
        projected = self.head(self.trunk.forward_head(self._alone(cells)))  # (B*N*M, E)
        return ImageFeatures(
            pooled, projected.unflatten(0, (len(images), *grid)).permute(0, 3, 1, 2)
        )

    def _alone(self, cells: Tensor) -> Tensor:
        """Each of ``(K, D)`` cells as the feature map of an image, in the trunk's layout."""
        if self.map.layout == "NLC":
            # The prefix repeats the cell, so that pooling finds it wherever it looks.
            return cells[:, None].expand(-1, 1 + self.prefix, -1)
        return cells[:, :, None, None] if self.map.layout == "NCHW" else cells[:, None, None]

    @torch.no_grad()
    def _measure(self, in_chans: int) -> FeatureMap:
        device = next(self.trunk.parameters()).device
        image = torch.zeros(1, in_chans, self.size, self.size, device=device)
        with evaluating(self.trunk):
            features = self.trunk.forward_features(image)
        declared = getattr(self.trunk, "output_fmt", "NCHW")
        axes = str(getattr(declared, "value", declared))
        return FeatureMap.of(features, (self.size, self.size), prefix=self.prefix, axes=axes)

    def pretrained_modules(self) -> list[nn.Module]:
        return [self.trunk]
