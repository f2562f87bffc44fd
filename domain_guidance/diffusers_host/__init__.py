"""A diffusers pipeline as a host: its folder, its UNet as a denoiser, as a critic and as a network to train."""
