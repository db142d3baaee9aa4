"""Models that no one here wrote, built by code: `python -m zoo` exports each and compares the files with Keras."""
