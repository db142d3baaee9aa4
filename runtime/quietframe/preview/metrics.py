"""Figures of running streams for Prometheus, in its text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    "captured": "Frames taken of the source.",
    "dropped": "Frames that a newer one replaced before the model turned to them.",
    "damaged": "Frames that came broken and were left out.",
    "reconnects": "How often the source was open again after a break.",
}
_QUANTILES = (50, 95, 99)


class _Streams(Collector):
    """Turn the states of streams, by name, into metrics."""

    def __init__(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        up = GaugeMetricFamily("quietframe_up", "Whether frames come.", labels=["camera", "model"])
        frames = CounterMetricFamily("quietframe_frames", "Frames denoised.", labels=["camera", "model"])
        seconds = SummaryMetricFamily("quietframe_denoise_seconds", "Time in the model.", labels=["camera", "model"])
        latency = GaugeMetricFamily(
            "quietframe_latency_seconds",
            "From capture to the last sink, of the latest 4,096 frames.",
            labels=["camera", "quantile"],
        )
        fps = GaugeMetricFamily("quietframe_fps", "Frames denoised a second, over three seconds.", labels=["camera"])
        failed = GaugeMetricFamily("quietframe_failed_outputs", "Outputs that were given up.", labels=["camera"])
        counters = {
            name: CounterMetricFamily(f"quietframe_{name}", text, labels=["camera"]) for name, text in _COUNTERS.items()
        }
        for camera, state in self._states.items():
            is_up = bool(state.get("captured")) and not state.get("trouble")
            up.add_metric([camera, state.get("model") or ""], is_up)
            for model, done in state.get("by_model", {}).items():
                frames.add_metric([camera, model], done["frames"])
                seconds.add_metric([camera, model], count_value=done["frames"], sum_value=done["denoise_s"])
            for percent in _QUANTILES:
                if (ms := state.get(f"age_p{percent}_ms")) is not None:
                    latency.add_metric([camera, f"{percent / 100:g}"], ms / 1000)
            if state.get("fps") is not None:
                fps.add_metric([camera], state["fps"])
            failed.add_metric([camera], len(state.get("failed_outputs", ())))
            for name, counter in counters.items():
                counter.add_metric([camera], state.get(name) or 0)
        yield from (up, frames, seconds, latency, fps, failed, *counters.values())


def metrics_text(states: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the metrics of streams, by their names, and of this process.

    states: as /stats.json gives them.
    """
    registry = CollectorRegistry()
    registry.register(_Streams(states))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
