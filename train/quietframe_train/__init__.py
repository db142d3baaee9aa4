"""Training: Keras 3 recipes for denoisers and classifiers, each reproducible from its run folder."""
