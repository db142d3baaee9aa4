"""The pipeline: a source is captured, its newest frame denoised, the result handed to sinks."""

from quietframe.pipeline.pipeline import Pipeline, PipelineConfig, Result

__all__ = ["Pipeline", "PipelineConfig", "Result"]
