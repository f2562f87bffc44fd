"""An Euler sampler by hand around single predictions of the host: what guided sampling has to equal.

A prediction is one plain run of the host over the noise levels [sigma, 0] from a given latent, whose result is the
denoised latent. It knows neither terms nor wrappers.
"""

import torch

EULER_STEPS = 3


class ByHand:
    """models, prompts: MODELs and conditionings of the host, by name. Latents are in the samplers' output scale."""

    def __init__(self, host, s, models, prompts):
        self.models = {name: host.value(s.graph, link) for name, link in models.items()}
        self.prompts = {name: host.value(s.graph, link) for name, link in prompts.items()}
        self.base = next(iter(self.models.values()))

    def predict(self, model, prompt, x, sigma):
        import comfy.sample
        import comfy.samplers

        levels = torch.tensor([sigma, 0.0])
        return comfy.sample.sample_custom(
            self.models[model],
            torch.zeros_like(x),
            1.0,
            comfy.samplers.ksampler("euler"),
            levels,
            self.prompts[prompt],
            self.prompts[prompt],
            x,
            disable_pbar=True,
            seed=0,
        )

    def sample(self, latent, formula, seed=7):
        """formula(predict, sigma, x) -> denoised, at every step; predict(model, prompt). From pure noise."""
        import comfy.sample
        import comfy.samplers

        sampling, model = self.base.get_model_object("model_sampling"), self.base.model
        levels = comfy.samplers.calculate_sigmas(sampling, "normal", EULER_STEPS)
        sigmas, noise = levels.tolist(), comfy.sample.prepare_noise(latent, seed)
        x = model.process_latent_out(
            sampling.noise_scaling(levels[0], noise, torch.zeros_like(noise), max_denoise=True)
        )
        for sigma, following in zip(sigmas, sigmas[1:]):
            denoised = formula(lambda name, prompt: self.predict(name, prompt, x, sigma), sigma)
            x = x + (x - denoised) / sigma * (following - sigma)
        return x

    def reached(self, sigma, percent):
        """Whether sampling has come to `percent` at the noise level `sigma`."""
        return sigma <= self.base.get_model_object("model_sampling").percent_to_sigma(percent)
