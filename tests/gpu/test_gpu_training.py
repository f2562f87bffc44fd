"""Train Domain on a GPU: every form in half precision, and a device whose memory really runs out."""

from contextlib import contextmanager

import pytest
import torch
from host_process import PromptError
from safetensors.torch import load_file
from scenes import assert_one_sentence
from training_scenes import Training, held_out, result_of, state_of

RATES = {"adapter": 1e-3, "text-free": 2e-5, "empty-prompt": 2e-5, "side-network": 1e-3}
HALF = ["bf16", "fp16"]


@contextmanager
def memory_left(size):
    """PyTorch may take `size` bytes more than it has, and then runs out of memory as on a smaller card."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + size) / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("form", RATES)
def test_every_form_learns_in_half_precision_and_writes_finite_weights(host, minis, base_directory, form, precision):
    t = Training(
        minis,
        save_name=f"gpu {form} {precision}",
        form=form,
        precision=precision,
        learning_rate=RATES[form],
        steps=30,
        evaluate_every=10,
    )
    host.value(t.graph, t.node)
    losses = held_out(t, base_directory)
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(tensor).all() for tensor in load_file(result_of(t, base_directory)).values())


def test_a_device_that_runs_out_says_so_in_a_sentence_and_the_run_goes_on_with_what_is_on_disk(
    host, minis, base_directory
):
    t = Training(minis, save_name="gpu memory", steps=4, checkpoint_every=1, evaluate_every=0)
    host.value(t.graph, t.node)
    more = Training(
        minis,
        save_name="gpu memory",
        graph=t.graph,
        model=t.model,
        vae=t.vae,
        steps=8,
        checkpoint_every=1,
        batch_size=2,
        evaluate_every=0,
    )
    with memory_left(1 << 20), pytest.raises(PromptError) as caught:
        host.value(more.graph, more.node, fresh=True)
    assert_one_sentence(caught.value.message)
    assert "memory" in caught.value.message
    assert state_of(t, base_directory).exists()
    host.value(more.graph, more.node, fresh=True)
    assert result_of(t, base_directory).exists()


def test_the_host_keeps_the_users_model_on_the_device_and_unchanged(host, minis):
    t = Training(minis, save_name="gpu unchanged", precision="bf16")
    before = {
        name: tensor.cpu().clone()
        for name, tensor in host.value(t.graph, t.model).model.diffusion_model.state_dict().items()
    }
    host.value(t.graph, t.node)
    after = host.value(t.graph, t.model).model.diffusion_model.state_dict()
    assert all(torch.equal(before[name], tensor.cpu()) for name, tensor in after.items())
