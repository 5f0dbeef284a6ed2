"""The U-Nets of unet3d and of flavell-lab/pytorch-3dunet, for programs that run PyTorch.

Names and shapes of the weights are those of the checkpoints of both programs.
"""

import torch
from torch import nn
from torch.nn import functional


def triple(value):
    return (value,) * 3 if isinstance(value, int) else tuple(value)


class Unit(nn.Sequential):
    """A convolution with its norm and non-linearity, in the order of the letters."""

    def __init__(self, inputs, outputs, order, groups, kernel, padding):
        super().__init__()
        bias = "g" not in order and "b" not in order
        for place, letter in enumerate(order):
            channels = inputs if place < order.index("c") else outputs
            if letter == "c":
                conv = nn.Conv3d(inputs, outputs, kernel, padding=padding, bias=bias)
                self.add_module("conv", conv)
            elif letter == "g":
                groups = 1 if channels < groups else groups
                self.add_module("groupnorm", nn.GroupNorm(groups, channels))
            elif letter == "b":
                self.add_module("batchnorm", nn.BatchNorm3d(channels))
            else:
                self.add_module("activation", activation(letter))


def activation(letter):
    return {"r": nn.ReLU(), "l": nn.LeakyReLU(0.1), "e": nn.ELU()}[letter]


class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs, encoder, *unit):
        super().__init__()
        middle = max(outputs // 2, inputs) if encoder else outputs
        self.add_module("SingleConv1", Unit(inputs, middle, *unit))
        self.add_module("SingleConv2", Unit(middle, outputs, *unit))


class ResidualBlock(nn.Module):
    def __init__(self, inputs, outputs, encoder, order, *unit):
        super().__init__()
        linear = "".join(letter for letter in order if letter not in "rle")
        self.conv1 = Unit(inputs, outputs, order, *unit)
        self.conv2 = Unit(outputs, outputs, order, *unit)
        self.conv3 = Unit(outputs, outputs, linear, *unit)
        self.last = activation("l" if "l" in order else "e" if "e" in order else "r")

    def forward(self, x):
        residual = self.conv1(x)
        return self.last(self.conv3(self.conv2(residual)) + residual)


class Encoder(nn.Module):
    def __init__(self, pool, block):
        super().__init__()
        self.pool = pool
        self.basic_module = block

    def forward(self, x):
        return self.basic_module(x if self.pool is None else functional.max_pool3d(x, self.pool))


class Upsampling(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.upsample = nn.ConvTranspose3d(inputs, outputs, kernel, stride=2, padding=1)

    def forward(self, x, size):
        return self.upsample(x, output_size=size)


class Decoder(nn.Module):
    def __init__(self, upsampling, block):
        super().__init__()
        if upsampling is not None:
            self.upsampling = upsampling
        self.sums = upsampling is not None
        self.basic_module = block

    def forward(self, skip, x):
        size = skip.shape[2:]
        if self.sums:
            return self.basic_module(skip + self.upsampling(x, size))
        return self.basic_module(torch.cat((skip, functional.interpolate(x, size=size)), 1))


class Network(nn.Module):
    residual = False
    planar = False
    levels = 4

    def __init__(
        self,
        in_channels,
        out_channels,
        final_sigmoid=True,
        f_maps=64,
        layer_order="gcr",
        num_groups=8,
        num_levels=None,
        is_segmentation=True,
        conv_kernel_size=3,
        pool_kernel_size=2,
        conv_padding=1,
        **unused,
    ):
        super().__init__()
        if isinstance(f_maps, int):
            f_maps = [f_maps * 2**level for level in range(num_levels or self.levels)]
        kernel, pool, padding = map(triple, (conv_kernel_size, pool_kernel_size, conv_padding))
        if self.planar:
            kernel, pool = (1, 3, 3), (1, 2, 2)
            padding = (0, 1, 1) if padding == (1, 1, 1) else padding
        if self.residual:
            padding = (1, 1, 1)
        kind = ResidualBlock if self.residual else DoubleConv
        unit = (layer_order, num_groups, kernel, padding)
        encoders, before = [], in_channels
        for level, maps in enumerate(f_maps):
            block = kind(before, maps, True, *unit)
            encoders.append(Encoder(pool if level else None, block))
            before = maps
        decoders = []
        for skip, below in reversed(list(zip(f_maps, f_maps[1:]))):
            upsampling = Upsampling(below, skip, kernel) if self.residual else None
            inputs = skip if self.residual else skip + below
            decoders.append(Decoder(upsampling, kind(inputs, skip, False, *unit)))
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(decoders)
        self.final_conv = nn.Conv3d(f_maps[0], out_channels, 1)
        self.probabilities = (
            None if not is_segmentation else torch.sigmoid if final_sigmoid else softmax
        )

    def forward(self, x):
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        skips.pop()
        for decoder in self.decoders:
            x = decoder(skips.pop(), x)
        x = self.final_conv(x)
        return x if self.probabilities is None else self.probabilities(x)


def softmax(x):
    return torch.softmax(x, dim=1)


class UNet3D(Network):
    pass


class ResidualUNet3D(Network):
    residual = True
    levels = 5


class UNet2D(Network):
    planar = True
