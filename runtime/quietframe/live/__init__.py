"""The real-time loop: a thread captures, one slot holds the newest frame, the model cleans it, sinks take it."""
