"""The diffusers side of training: three forms, what each trains and freezes, and the files it writes."""

import json
from copy import deepcopy

import mini_pipeline
import pytest
import torch
from safetensors.torch import load_file

from domain_guidance.__main__ import main
from domain_guidance.data import Size
from domain_guidance.diffusers_host.folder import DiffusersFolder
from domain_guidance.diffusers_host.lora import add_lora
from domain_guidance.diffusers_host.trainable import DiffusersTrainable, add_adapter, base_fingerprint
from domain_guidance.diffusion.noise_schedule import scaled_linear
from domain_guidance.domains.adapter_file import merged, read_adapter_file, write_adapter_file
from domain_guidance.domains.domain_file import DomainFileError, read_domain_file
from domain_guidance.domains.fingerprint import fingerprint
from domain_guidance.domains.prompt import Prompt
from domain_guidance.domains.unet_layouts import diffusers_to_host, host_to_diffusers
from domain_guidance.training.text_removal import take_text_out

SIZE = Size(16, 16)


def unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**mini_pipeline.UNET).eval()


def latents(count=3):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def trainable(form, network=None):
    if form == "adapter":
        pytest.importorskip("peft")
    network = network or unet()
    empty = Prompt(torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(2)))
    made = DiffusersTrainable(
        network,
        scaled_linear(),
        "epsilon",
        empty,
        form,
        base_fingerprint(network),
        "mini",
        rank=2 * (form == "adapter"),
    )
    if form == "adapter":
        add_adapter(network, 2)
    elif form == "text-free":
        take_text_out(made, [(latents(), SIZE)])
    else:
        network.requires_grad_(True)
    return made


def output(made):
    noisy = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    return made.predict(noisy, torch.tensor([5, 500, 990]), made.conditioning(3, SIZE))


def loss(made):
    return output(made).square().mean()


def wiggle(made):
    """Stand in for training: every trained tensor moves."""
    with torch.no_grad():
        for number, parameter in enumerate(p for p in made.module.parameters() if p.requires_grad):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))


@pytest.mark.parametrize("form", ["adapter", "text-free", "empty-prompt"])
def test_every_trained_tensor_gets_a_gradient(form):
    made = trainable(form)
    wiggle(made)  # an adapter's down matrix has none while its up matrix is zero
    loss(made).backward()
    trained = {name: p for name, p in made.module.named_parameters() if p.requires_grad}
    assert trained
    assert not [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    assert not [name for name, p in made.module.named_parameters() if not p.requires_grad and p.grad is not None]


def test_an_adapter_leaves_the_base_and_the_cross_attention_alone():
    before = unet().state_dict()
    made = trainable("adapter")
    names = [name for name, p in made.module.named_parameters() if p.requires_grad]
    assert names and all("lora_" in name and "attn2" not in name for name in names)
    assert {
        kind for kind in ("attn1", "ff", "proj_in", "proj_out", "conv1", "conv2") if any(kind in name for name in names)
    } == {
        "attn1",
        "ff",
        "proj_in",
        "proj_out",
        "conv1",
        "conv2",
    }
    after = {
        name.replace(".base_layer", ""): tensor
        for name, tensor in made.module.state_dict().items()
        if "lora_" not in name
    }
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_fresh_adapter_changes_nothing_and_draws_nothing_from_the_global_generator():
    plain = trainable("empty-prompt")
    before = torch.get_rng_state()
    made = trainable("adapter", unet())
    torch.manual_seed(0)
    unet()
    assert torch.equal(output(made), output(plain))
    torch.set_rng_state(before)
    add_adapter(unet(), 2)
    one = torch.get_rng_state()
    torch.set_rng_state(before)
    unet()
    assert torch.equal(torch.get_rng_state(), one)


def test_a_text_free_net_freezes_what_text_needed_and_reports_the_residual_of_every_layer():
    made = trainable("text-free")
    frozen = {name for name, p in made.module.named_parameters() if not p.requires_grad}
    assert frozen and all("attn2" in name or ".norm2." in name for name in frozen)
    assert len(made.notes["residuals"]) == 3 and all(0 < value < 1 for value in made.notes["residuals"].values())


def test_the_skipped_cross_attention_is_the_text_free_weights_that_are_written(tmp_path):
    made = trainable("text-free")
    wiggle(made)
    made.write(tmp_path / "domain.safetensors", {"steps": 3})
    file = read_domain_file(tmp_path / "domain.safetensors")
    fresh = unet()
    fresh.load_state_dict(host_to_diffusers(file.weights, fresh.config))
    assert (file.card.form, file.card.base_fingerprint) == (
        "text-free",
        fingerprint(diffusers_to_host(unet().state_dict(), fresh.config)),
    )
    assert torch.equal(file.cross_attn, made.empty.cross_attn)
    assert file.card.training["residuals"] == made.notes["residuals"] and file.card.training["steps"] == 3
    written = DiffusersTrainable(
        fresh.float(), made.schedule, "epsilon", Prompt(9 * made.empty.cross_attn), "text-free", ""
    )
    torch.testing.assert_close(output(written), output(made), rtol=0, atol=5e-3)  # stored in fp16


def test_the_adapter_file_added_to_the_base_is_what_was_trained(tmp_path):
    made = trainable("adapter")
    wiggle(made)
    made.write(tmp_path / "adapter.safetensors", {"steps": 3})
    file, base = read_adapter_file(tmp_path / "adapter.safetensors"), unet()
    assert torch.equal(file.cross_attn, made.empty.cross_attn) and file.card.training["form"] == "adapter"
    host = merged(diffusers_to_host(base.state_dict(), base.config), file.tensors)
    base.load_state_dict(host_to_diffusers(host, base.config))
    whole = DiffusersTrainable(base, made.schedule, "epsilon", made.empty, "adapter", "")
    assert (output(trainable("empty-prompt")) - output(made)).abs().max() > 1e-2, "the adapter must matter"
    torch.testing.assert_close(output(whole), output(made), rtol=0, atol=1e-5)


def test_the_adapter_files_names_are_comfyuis_generic_lora_names(tmp_path):
    made = trainable("adapter")
    made.write(tmp_path / "adapter.safetensors", {})
    tensors = load_file(tmp_path / "adapter.safetensors")
    host = {f"diffusion_model.{name}" for name in diffusers_to_host(unet().state_dict(), mini_pipeline.UNET)}
    modules = {name.removesuffix(".alpha") for name in tensors if name.endswith(".alpha")}
    assert modules and all(f"{module}.weight" in host for module in modules)
    parts = (".lora_up.weight", ".lora_down.weight", ".alpha")
    assert set(tensors) == {module + part for module in modules for part in parts}
    assert all(tensors[f"{module}.alpha"] == len(tensors[f"{module}.lora_down.weight"]) for module in modules)


def test_gradient_checkpointing_keeps_the_gradient_and_really_saves_memory():
    from domain_guidance.memory.activations import activation_bytes

    made, kept, gradients = trainable("empty-prompt"), [], []
    for switch in (False, True):
        made.module.zero_grad()
        made.module.enable_gradient_checkpointing() if switch else made.module.disable_gradient_checkpointing()
        kept.append(activation_bytes(lambda: loss(made), made.module))
        loss(made).backward()
        gradients.append([p.grad.clone() for p in made.module.parameters()])
    assert kept[1] < 0.5 * kept[0]
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in zip(*gradients))


def test_measuring_the_activations_leaves_nothing_behind():
    """An output that its own node saves, as exp's, must not be kept alive by having been looked at."""
    import weakref

    from domain_guidance.memory.activations import activation_bytes

    layer, outputs = torch.nn.Linear(64, 64, bias=False), []

    def forward():
        outputs.append(weakref.ref(output := layer(torch.ones(8, 64)).exp()))
        return output.sum()

    assert activation_bytes(forward, layer) == 2 * 8 * 64 * 4, "the layer's input and exp's output"
    assert outputs[0]() is None


def test_the_exported_adapter_loaded_by_diffusers_is_what_was_trained(tmp_path):
    """Through a pipeline's own load_lora_weights, which refuses the adapter itself."""
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    base = mini_pipeline.write_pipeline(tmp_path / "base")
    pipeline = StableDiffusionPipeline(
        unet=DiffusersFolder(str(base)).unet(),
        scheduler=DDPMScheduler(steps_offset=1, clip_sample=False),
        requires_safety_checker=False,
        **dict.fromkeys(["vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"]),
    )
    made = trainable("adapter", deepcopy(pipeline.unet))
    wiggle(made)
    made.write(tmp_path / "adapter.safetensors", {"steps": 3})
    file = read_adapter_file(tmp_path / "adapter.safetensors")
    write_adapter_file(
        tmp_path / "adapter.safetensors",
        {name: tensor / 2 if name.endswith("alpha") else tensor for name, tensor in file.tensors.items()},
        card=file.card,
        cross_attn=file.cross_attn,
    )
    expected = deepcopy(pipeline.unet)
    add_lora(expected, tmp_path / "adapter.safetensors")
    words = ["export", str(tmp_path / "adapter.safetensors"), str(tmp_path / "lora.safetensors"), "--base", str(base)]
    assert main(words) == 0
    plain = output(DiffusersTrainable(deepcopy(pipeline.unet), made.schedule, "epsilon", made.empty, "adapter", ""))
    pipeline.load_lora_weights(tmp_path / "lora.safetensors")
    loaded = output(DiffusersTrainable(pipeline.unet, made.schedule, "epsilon", made.empty, "adapter", ""))
    merged_in = output(DiffusersTrainable(expected, made.schedule, "epsilon", made.empty, "adapter", ""))
    assert (loaded - plain).abs().max() > 1e-2, "the adapter must matter"
    assert (loaded - merged_in).abs().max() <= 2e-6 * merged_in.abs().max()


def test_an_export_replaces_no_file_and_refuses_another_base(tmp_path, caplog):
    base = mini_pipeline.write_pipeline(tmp_path / "base")
    made = trainable("adapter")
    made.write(tmp_path / "adapter.safetensors", {})
    words = ["export", "--base", str(base), str(tmp_path / "adapter.safetensors")]
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    assert main([*words, str(tmp_path / "mine.safetensors")]) == 1
    assert (tmp_path / "mine.safetensors").read_bytes() == b"mine"
    assert "exists already: delete it or choose another name." in caplog.text
    config = json.loads((base / "unet" / "config.json").read_text())
    (base / "unet" / "config.json").write_text(json.dumps(config | {"block_out_channels": [16, 64]}))
    assert main([*words, str(tmp_path / "new.safetensors")]) == 1
    assert "give the base that the adapter was trained from." in caplog.text
    assert not (tmp_path / "new.safetensors").exists()


def test_an_export_for_a_base_without_a_unet_says_where_the_adapter_can_be_used(tmp_path, caplog):
    base = mini_pipeline.write_pipeline(tmp_path / "base")
    index = json.loads((base / "model_index.json").read_text())
    del index["unet"]
    (base / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    trainable("adapter").write(tmp_path / "adapter.safetensors", {})
    words = ["export", "--base", str(base), str(tmp_path / "adapter.safetensors"), str(tmp_path / "new.safetensors")]
    assert main(words) == 1
    assert "is a FluxPipeline without a UNet, but only adapters of UNets can be exported" in caplog.text
    assert "trains" not in caplog.text and not (tmp_path / "new.safetensors").exists()


def test_what_is_no_adapter_file_is_refused(tmp_path):
    made = trainable("text-free")
    made.write(tmp_path / "domain.safetensors", {})
    words = "'domain.safetensors' is not an adapter that Domain Guidance trained, but a text-free domain: give an"
    with pytest.raises(DomainFileError, match=words):
        read_adapter_file(tmp_path / "domain.safetensors")
    card = read_domain_file(tmp_path / "domain.safetensors").card
    with pytest.raises(DomainFileError, match="'diffusion_model.x.weight' has an unknown name"):
        write_adapter_file(
            tmp_path / "x.safetensors", {"x.weight": torch.ones(1)}, card=card, cross_attn=made.empty.cross_attn
        )
    with pytest.raises(DomainFileError, match="which this base lacks"):
        merged(
            {},
            {
                "diffusion_model.x.alpha": torch.ones(()),
                "diffusion_model.x.lora_up.weight": torch.ones(2, 1),
                "diffusion_model.x.lora_down.weight": torch.ones(1, 2),
            },
        )
