"""A diffusion model as the library sees it: denoiser, what its network predicts, noise schedule and samplers."""
