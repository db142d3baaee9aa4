from __future__ import annotations

import pytest

from quietframe_bench.profiles import convolution_macs, short_name


@pytest.mark.parametrize(
    ("image", "kernel", "channels", "macs"),
    [
        ((1, 240, 320, 16), (16, 3, 3, 12), 16, 240 * 320 * 16 * 12 * 9),  # in either layout
        ((1, 16, 240, 320), (16, 12, 3, 3), 16, 240 * 320 * 16 * 12 * 9),
        ((1, 10, 10, 8), (1, 3, 3, 8), 8, 100 * 8 * 9),  # depthwise
        ((1, 8, 10, 10), (8, 2, 3, 3), 8, 100 * 8 * 2 * 9),  # four groups
        ((1, 7, 7, 64), (32, 3, 3, 64), 64, 49 * 32 * 9 * 64),  # transposed: of its input's pixels
    ],
)
def test_the_work_of_a_convolution(image, kernel, channels, macs):
    assert convolution_macs(image, kernel, channels) == macs


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("net_1/up0_1/convolution;net_1/up0_bn_1/batchnorm/sub1", "up0_1"),
        ("net_1/up0_bn_1/batchnorm/sub1;net_1/up0_1/convolution", "up0_bn_1"),
        ("net/convolution/merged_input:0_DequantizeLinear", "net"),
        ("Conv__86", "Conv__86"),
        ("convolution", "convolution"),
        ("", ""),
    ],
)
def test_names_are_shortened_to_the_layer(name, short):
    assert short_name(name) == short
