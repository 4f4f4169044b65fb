"""Whether a model trained on newer posts takes the place of the one in use."""
