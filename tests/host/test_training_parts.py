"""The pieces that a training in the host is made of, each against the host's own arithmetic."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mini_models import FAMILIES
from scenes import EMPTY, assert_same, build
from training_scenes import register, vae_file

# family -> size in pixels; not square, so that a swapped side is seen.
SIZES = {
    "sd15": (96, 64),
    "sd20": (96, 64),
    "sdxl": (96, 64),
    "sd3": (96, 64),
    "flux": (96, 64),
    "sd15_inpaint": (96, 64),
}


@pytest.fixture(scope="module", autouse=True)
def folders(host, base_directory):
    register(base_directory)


@pytest.fixture
def make(host, minis):
    """A trainable of a family outside any node, as the node makes it; a context manager."""
    forms, cache = host.library("nodes.comfy_host.training.forms"), host.library("domain_guidance.data")

    def make(family="sd15", form="adapter", save_memory=False, tmp=None):
        s = build(minis, family)
        loader = s.graph.add("VAELoader", vae_name=vae_file(minis, FAMILIES[family][2]))
        model, vae, empty = (host.value(s.graph, link) for link in (s.model, loader, s.prompt(EMPTY)))
        images = host.value(s.graph, s.graph.add("ProbeHandwriting", count=10))
        posteriors = host.library("nodes.comfy_host.training.vae_posterior").Posteriors(vae)
        latents = cache.LatentCache(
            tmp, cache.BatchImages(images), posteriors.encode, vae="tiny", bucket_of=cache.aspect_buckets(64)
        )
        list(latents.fill())
        empty = host.library("nodes.comfy_host.domains.empty_prompt").empty_prompt(None, empty)
        making = forms.made_trainable(
            model,
            vae.patcher,
            empty,
            latents.open(),
            8,
            form=form,
            rank=4,
            seed=0,
            save_memory=save_memory,
            eight_bit_adam=False,
        )
        return making, model, empty

    return make


def asked(host, trainable, family):
    """A noisy latent, its noise levels and the trainable's conditioning for a batch of two."""
    size = host.library("domain_guidance.data").Size(*SIZES[family])
    shape = (2, FAMILIES[family][2], size.height // 8, size.width // 8)
    timestep = torch.tensor([len(trainable.schedule.sigmas) // 5, len(trainable.schedule.sigmas) // 2])
    noisy = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noisy, timestep, trainable.conditioning(2, size), size


@pytest.mark.parametrize("family", SIZES)
def test_the_network_is_called_as_the_hosts_sampler_calls_it(host, make, tmp_path, family):
    """Same latent, noise level and empty prompt: the host's own denoised prediction."""
    import comfy.samplers
    from comfy.sampler_helpers import convert_cond

    parameterization = host.library("domain_guidance.diffusion.parameterization")
    making, model, empty = make(family, tmp=tmp_path)
    with making as trainable, torch.no_grad():
        noisy, timestep, conditioning, size = asked(host, trainable, family)
        sigma = trainable.schedule.sigma(timestep)
        scaled = parameterization.network_input(noisy, sigma, trainable.prediction)
        ours = parameterization.denoised(
            trainable.predict(scaled, timestep, conditioning), noisy, sigma, trainable.prediction
        )
    sized = [{**entry, "width": size.width, "height": size.height} for entry in convert_cond(empty)]
    base = model.model
    entries = comfy.samplers.encode_model_conds(
        base.extra_conds, sized, noisy, noisy.device, "negative", latent_image=torch.zeros_like(noisy), seed=0
    )
    conds = {name: cond.process_cond(batch_size=2, area=None).cond for name, cond in entries[0]["model_conds"].items()}
    with torch.no_grad():
        theirs = base.apply_model(noisy, sigma, **conds)
    assert_same(ours, theirs)


def test_sdxl_reads_the_size_of_the_bucket_and_no_crop(host, make, tmp_path):
    making, model, empty = make("sdxl", tmp=tmp_path)
    with making as trainable:
        _, _, conditioning, size = asked(host, trainable, "sdxl")
        other = trainable.conditioning(2, host.library("domain_guidance.data").Size(size.height, size.width))
    embed = model.model.embedder
    numbers = torch.cat(
        [embed(torch.tensor([float(n)])).flatten() for n in (size.height, size.width, 0, 0, size.height, size.width)]
    )
    assert torch.equal(conditioning["y"][0, 1280:], numbers)
    assert not torch.equal(other["y"], conditioning["y"])


@pytest.mark.parametrize(
    "family, form",
    [
        ("sd15", "adapter"),
        ("sd15", "text-free"),
        ("sdxl", "adapter"),
        ("sd3", "adapter"),
        ("sd3", "empty-prompt"),
        ("flux", "adapter"),
        ("flux", "empty-prompt"),
    ],
)
def test_every_trained_tensor_gets_a_gradient_and_no_frozen_one_does(host, make, tmp_path, family, form):
    """The adapters' first factors start where their gradient is zero, so the second step is looked at."""
    making, _, _ = make(family, form, tmp=tmp_path)
    with making as trainable:
        noisy, timestep, conditioning, _ = asked(host, trainable, family)
        trained = {name: p for name, p in trainable.module.named_parameters() if p.requires_grad}
        frozen = [p for p in trainable.module.parameters() if not p.requires_grad]
        optimizer = torch.optim.SGD(trained.values(), lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            trainable.predict(noisy, timestep, conditioning).square().mean().backward()
            optimizer.step()
        assert trained and all(p.grad is not None for p in trained.values())
        without = [name for name, p in trained.items() if not p.grad.any()]
        assert not without, without[:5]
        assert all(p.grad is None for p in frozen)


@pytest.mark.parametrize(
    "family, form", [("sd15", "adapter"), ("sdxl", "text-free"), ("sd3", "empty-prompt"), ("flux", "adapter")]
)
def test_checkpointing_saves_memory_and_changes_no_gradient(host, make, tmp_path, monkeypatch, family, form):
    """Against a network that keeps everything."""
    monkeypatch.setattr(host.library("nodes.comfy_host.training.differentiable"), "recomputation", nullcontext)
    measure = host.library("domain_guidance.memory.activations").activation_bytes
    gradients, kept = [], []
    for save_memory in (False, True):
        making, _, _ = make(family, form, save_memory, tmp=tmp_path)
        with making as trainable:
            noisy, timestep, conditioning, _ = asked(host, trainable, family)
            kept.append(measure(lambda: trainable.predict(noisy, timestep, conditioning), trainable.module))
            trainable.predict(noisy, timestep, conditioning).square().mean().backward()
            gradients.append([p.grad.clone() for p in trainable.module.parameters() if p.grad is not None])
    assert kept[1] < 0.5 * kept[0], kept
    assert len(gradients[0]) == len(gradients[1]) > 10
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(*gradients))


@pytest.mark.parametrize(
    "family, form", [("sd15", "adapter"), ("sdxl", "text-free"), ("sd3", "empty-prompt"), ("flux", "empty-prompt")]
)
def test_making_activations_again_saves_memory_and_changes_no_bit_of_a_gradient(
    host, make, tmp_path, monkeypatch, family, form
):
    measure, gradients, kept = host.library("domain_guidance.memory.activations").activation_bytes, [], []
    for again in (True, False):
        if not again:
            monkeypatch.setattr(host.library("nodes.comfy_host.training.differentiable"), "recomputation", nullcontext)
        making, _, _ = make(family, form, tmp=tmp_path)
        with making as trainable:
            noisy, timestep, conditioning, _ = asked(host, trainable, family)
            kept.append(measure(lambda: trainable.predict(noisy, timestep, conditioning), trainable.module))
            trainable.predict(noisy, timestep, conditioning).square().mean().backward()
            gradients.append([p.grad.clone() for p in trainable.module.parameters() if p.grad is not None])
    assert 0 < kept[0] < (0.95 if family in ("sd3", "flux") else 0.7) * kept[1], kept
    assert len(gradients[0]) == len(gradients[1]) > 10
    assert all(torch.equal(*pair) for pair in zip(*gradients))


@pytest.mark.parametrize("save_memory", [False, True])
@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_the_gradient_is_that_of_the_loss_where_blocks_add_in_place(host, make, tmp_path, family, save_memory):
    """Against differences of the loss along one direction, in a layer of the first block."""
    making, _, _ = make(family, "empty-prompt", save_memory, tmp=tmp_path)
    with making as trainable:
        noisy, timestep, conditioning, _ = asked(host, trainable, family)
        first = host.library("nodes.comfy_host.training.differentiable").blocks(trainable._model.diffusion_model)[
            1 if family == "sd15" else 0
        ]
        weight = max(first.parameters(), key=torch.numel)
        trainable.predict(noisy, timestep, conditioning).square().mean().backward()
        direction = weight.grad / weight.grad.norm()

        def loss(shift):
            weight.data += shift * direction
            with torch.no_grad():
                result = trainable.predict(noisy, timestep, conditioning).double().square().mean().item()
            weight.data -= shift * direction
            return result

        expected = (loss(0.05) - loss(-0.05)) / 0.1
        assert float(weight.grad.norm()) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("family", ["sd15_middle", "sdxl", "sd3", "flux"])
def test_what_is_checkpointed_are_blocks_and_never_the_network(host, minis, family):
    from mini_models import _module

    network = _module(family)
    chosen = host.library("nodes.comfy_host.training.differentiable").blocks(network)
    assert len(chosen) >= 2 and network not in chosen
    largest = max(sum(p.numel() for p in block.parameters()) for block in chosen)
    assert largest < 0.75 * sum(p.numel() for p in network.parameters())


def test_the_network_is_as_it_was_when_the_training_ends(host, make, tmp_path):
    """Hooks, patched forwards and the host's training switch are gone, also after an exception."""
    import comfy.model_management

    def replaced(module):
        return getattr(module.forward, "__func__", None) is not type(module).forward

    for form in ("adapter", "text-free"):
        making, _, _ = make("sd15", form, save_memory=True, tmp=tmp_path)
        with pytest.raises(RuntimeError, match="broken"), making as trainable:
            assert comfy.model_management.in_training
            network = trainable._model.diffusion_model
            assert any(replaced(module) for module in network.modules())
            raise RuntimeError("broken")
        assert not comfy.model_management.in_training
        assert not any(replaced(module) for module in network.modules())


def test_a_seed_means_the_same_adapters_and_leaves_the_global_generator_alone(host, minis):
    from mini_models import _module

    make_adapters, network = host.library("nodes.comfy_host.training.lora_layers").make_adapters, _module("sd15")
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    first, again, other = (make_adapters(network, 4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(4), expected)
    name = next(iter(first))
    assert torch.equal(first[name].lora_up.weight, again[name].lora_up.weight)
    assert not torch.equal(first[name].lora_up.weight, other[name].lora_up.weight)


class TestPosterior:
    """An autoencoder of the host's kind, but small."""

    @pytest.fixture
    def vae(self):
        from comfy.ldm.models.autoencoder import AutoencoderKL

        config = {
            "double_z": True,
            "z_channels": 4,
            "resolution": 32,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": [1, 2],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "dropout": 0.0,
        }
        torch.manual_seed(0)
        network = AutoencoderKL(ddconfig=config, embed_dim=4).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        return SimpleNamespace(
            first_stage_model=network,
            latent_dim=2,
            vae_dtype=torch.float32,
            device=torch.device("cpu"),
            process_input=lambda x: x * 2 - 1,
            memory_used_encode=lambda shape, dtype: 1,
            throw_exception_if_invalid=lambda: None,
            patcher=SimpleNamespace(),
        )

    def test_mean_and_log_variance_are_the_encoders_own(self, host, vae, monkeypatch):
        import comfy.model_management

        monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda *args, **kwargs: None)
        pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
        mean, logvar = host.library("nodes.comfy_host.training.vae_posterior").Posteriors(vae).encode(pixels)
        with torch.no_grad():
            moments = vae.first_stage_model.quant_conv(vae.first_stage_model.encoder(pixels))
        assert torch.allclose(mean, moments[:, :4], atol=1e-5) and torch.allclose(
            logvar, moments[:, 4:].clamp(-30, 20), atol=1e-5
        )
        assert not mean.is_inference() and not logvar.is_inference()
        assert not vae.first_stage_model.regularization._forward_pre_hooks

    def test_a_vae_without_a_posterior_gives_the_latent_alone(self, host, minis):
        s = build(minis)
        vae = host.value(s.graph, s.graph.add("VAELoader", vae_name=vae_file(minis, 4)))
        pixels = torch.rand(1, 3, 64, 64) * 2 - 1
        mean, logvar = host.library("nodes.comfy_host.training.vae_posterior").Posteriors(vae).encode(pixels)
        assert logvar is None
        with torch.inference_mode():
            expected = vae.encode((pixels.movedim(1, -1) + 1) / 2)
        assert torch.allclose(mean, expected.float(), atol=1e-5)


def test_the_copy_is_given_back_to_the_hosts_memory_management(host, make, tmp_path):
    import comfy.model_management

    def loaded():
        return [entry.model.model for entry in comfy.model_management.current_loaded_models if entry.model is not None]

    making, _, _ = make("sd3", tmp=tmp_path)
    with making as trainable:
        copy = trainable._model
        assert any(model is copy for model in loaded())
    assert not any(model is copy for model in loaded())
