"""One module per way to align a diffusion model; each has a class with `step(iteration)`, which `boig.diffusion.training.run` drives."""
