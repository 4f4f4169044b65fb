"""MobileNetV2 (Sandler et al. 2018, table 2), laid out so that the widely shared ImageNet weights load by name.

Written out here since the environment has no torchvision; only what those weights need: width 1.0, 1,000 classes.
"""

import torch
from torch import Tensor, nn

# expansion, channels, repeats, stride of the first repeat: table 2 of the paper
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_FIRST, _LAST = 32, 1280
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0–1, as the weights were trained."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True)
    )


class _Inverted(nn.Module):
    """Inverted residual: widen, filter each channel, narrow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [_conv(inputs, hidden, 1)] if expansion != 1 else []
        narrow = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*widen, _conv(hidden, hidden, 3, stride, hidden), *narrow)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """(B, 3, H, W) normalized RGB → feature maps and class scores per map cell."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, _FIRST, 3, 2)]
        channels = _FIRST
        for expansion, outputs, repeats, stride in _STAGES:
            for i in range(repeats):
                layers.append(_Inverted(channels, outputs, stride if i == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, _conv(channels, _LAST, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(_LAST, classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1280, H/32, W/32) features, and (B, classes) logits of their mean."""
        maps = self.features(x)
        return maps, self.classifier(maps.mean((2, 3)))

    def activation(self, maps: Tensor, classes: Tensor) -> Tensor:
        """Class activation maps (Zhou et al. 2016): (B, 1280, h, w) and (B, K) class indices → (B, K, h, w)."""
        head = self.classifier[1]
        assert isinstance(head, nn.Linear)
        weights = head.weight[classes]  # (B, K, 1280)
        return torch.einsum("bkc,bchw->bkhw", weights, maps)
