"""The diffusion model as the library sees it: a denoiser, what its network predicts, its noise schedule, and
samplers.
"""
