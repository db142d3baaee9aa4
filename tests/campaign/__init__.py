"""A campaign of damaged inputs, broken streams, signals and hostile clients: `python -m campaign`."""
