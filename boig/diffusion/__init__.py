"""Diffusion: pipelines, a sampler with log-probabilities, the rollout buffer, and the methods that align a base to a reward."""
