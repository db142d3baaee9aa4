"""The tiny models under the path by which the benchmarks' tests load them."""

from support.tiny_models import *  # noqa: F403
