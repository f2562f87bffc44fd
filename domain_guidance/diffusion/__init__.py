"""The diffusion model as the library sees it: a denoiser, its parameterisation, its noise schedule, and samplers."""
