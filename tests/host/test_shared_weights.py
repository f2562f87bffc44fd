"""A domain that is the same checkpoint with a LoRA: no second UNet, and the LoRA is never silently ignored."""

import math

import pytest
import torch
from mini_models import weights
from safetensors.torch import save_file
from scenes import EMPTY, OTHER, assert_differs, assert_same, build
from watchers import watch_evaluations


def with_lora(s, minis, model, strength=1.0):
    return s.graph.add("LoraLoaderModelOnly", model=model, lora_name=minis.lora(), strength_model=strength)


def with_user_lora(s, minis, model):
    return s.graph.add(
        "LoraLoaderModelOnly",
        model=model,
        lora_name=minis.lora(name="user_lora.safetensors", seed=71),
        strength_model=0.7,
    )


def second_copy(s, minis):
    """The same weights from another file: what the host has to load as a second UNet."""
    return s.load_domain(minis.domain())


@pytest.mark.parametrize("strength", [1.0, -0.5])
@pytest.mark.parametrize("negative", [EMPTY, OTHER], ids=["empty negative", "other negative"])
def test_a_lora_on_the_base_guides_as_a_patched_second_copy_does(host, minis, negative, strength):
    s = build(minis, negative=negative)
    empty = s.prompt(EMPTY)
    shared = s.guide(s.model, with_lora(s, minis, s.model, strength), domain_conditioning=empty)
    separate = s.guide(s.model, with_lora(s, minis, second_copy(s, minis), strength), domain_conditioning=empty)
    assert_same(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(separate)))
    assert_differs(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(s.model)))


def test_the_shared_lora_is_evaluated_on_one_unet(host, minis):
    s = build(minis)
    guided = s.guide(s.model, with_lora(s, minis, s.model), domain_conditioning=s.prompt(EMPTY))
    with watch_evaluations() as seen:
        host.samples(s.graph, s.sample(guided, seed=111))
    assert len(seen.models()) == 1
    assert seen.elements(1, 3) == 3


def test_the_base_is_bit_identical_after_a_shared_run(host, minis):
    s = build(minis)
    base = host.value(s.graph, s.model)
    before = {name: tensor.clone() for name, tensor in base.model.diffusion_model.state_dict().items()}
    plain = s.sample(s.model)
    first = host.samples(s.graph, plain)
    host.samples(
        s.graph, s.sample(s.guide(s.model, with_lora(s, minis, s.model), domain_conditioning=s.prompt(EMPTY)), seed=112)
    )
    after = base.model.diffusion_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(host.samples(s.graph, plain, fresh=True), first)


def test_a_domain_lora_sits_on_top_of_the_users_own(host, minis):
    """model = base + U, domain = base + L: the term is of base + U + L, so that the user's own LoRA is not pulled out
    again.
    """
    s = build(minis)
    empty, base = s.prompt(EMPTY), with_user_lora(s, minis, s.model)
    shared = s.guide(base, with_lora(s, minis, s.model), domain_conditioning=empty)
    separate = s.guide(
        base, with_lora(s, minis, with_user_lora(s, minis, second_copy(s, minis))), domain_conditioning=empty
    )
    assert_same(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(separate)))
    assert_differs(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(base)))


def test_with_a_reference_model_the_term_is_the_exact_difference_of_the_two_models(host, minis):
    """base + 3 L against base + L, all on the weights of a base that carries U, equals the same pair as second
    copies.
    """
    s = build(minis)
    empty, base = s.prompt(EMPTY), with_user_lora(s, minis, s.model)
    shared = s.guide(
        base, with_lora(s, minis, s.model, 3.0), reference_model=with_lora(s, minis, s.model), domain_conditioning=empty
    )
    domain, reference = with_lora(s, minis, second_copy(s, minis), 3.0), with_lora(s, minis, second_copy(s, minis))
    separate = s.guide(base, domain, reference_model=reference, domain_conditioning=empty)
    assert_same(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(separate)))
    assert_differs(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(base)))


def test_one_lora_on_both_sides_counts_with_the_difference_of_its_strengths(host, minis):
    """base + 3 L guides base + L by 2 L: as two copies do."""
    s = build(minis)
    empty, base = s.prompt(EMPTY), with_lora(s, minis, s.model)
    shared = s.guide(base, with_lora(s, minis, s.model, 3.0), domain_conditioning=empty)
    separate = s.guide(base, with_lora(s, minis, second_copy(s, minis), 3.0), domain_conditioning=empty)
    assert_same(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(separate)))
    assert_differs(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(base)))


@pytest.mark.parametrize("ours, domains", [((0.5,), (0.5, 1.0)), ((1.0,), (1.0, 1.0)), ((1.0, 0.5), (0.5,))], ids=str)
def test_one_lora_several_times_counts_with_the_sum_of_its_strengths(host, minis, ours, domains):
    """A LoRA that the user's model has already, as the domain adapter on that model; and one of a stack, twice."""
    s = build(minis)
    empty = s.prompt(EMPTY)

    def stacked(model, strengths):
        for strength in strengths:
            model = with_lora(s, minis, model, strength)
        return model

    base = stacked(s.model, ours)
    shared = s.guide(base, stacked(s.model, domains), domain_conditioning=empty)
    separate = s.guide(base, with_lora(s, minis, second_copy(s, minis), sum(domains)), domain_conditioning=empty)
    assert_same(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(separate)))
    assert_differs(host.samples(s.graph, s.sample(shared)), host.samples(s.graph, s.sample(base)))


@pytest.mark.parametrize("order", [(1.0, 0.5), (0.5, 1.0)])
def test_a_stack_of_one_lora_on_both_sides_is_no_domain_in_either_order(host, minis, order):
    s = build(minis)
    base = with_lora(s, minis, with_lora(s, minis, s.model, 1.0), 0.5)
    domain = with_lora(s, minis, with_lora(s, minis, s.model, order[0]), order[1])
    guided = s.guide(base, domain, domain_conditioning=s.prompt(EMPTY))
    assert_same(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, s.sample(base)))


def test_the_same_lora_on_both_sides_is_no_domain(host, minis):
    s = build(minis)
    base = with_lora(s, minis, s.model)
    guided = s.guide(base, with_lora(s, minis, s.model), domain_conditioning=s.prompt(EMPTY))
    assert_same(host.samples(s.graph, s.sample(guided)), host.samples(s.graph, s.sample(base)))


def test_a_lora_after_the_node_reaches_the_base_as_it_does_before_it(host, minis):
    """The user's LoRA patches the weights that both sides share, so the order of the nodes must not matter."""
    s = build(minis)
    empty, domain = s.prompt(EMPTY), with_lora(s, minis, s.model)
    before = s.guide(with_user_lora(s, minis, s.model), domain, domain_conditioning=empty)
    after = with_user_lora(s, minis, s.guide(s.model, domain, domain_conditioning=empty))
    assert_same(host.samples(s.graph, s.sample(before)), host.samples(s.graph, s.sample(after)))


@pytest.mark.parametrize("reference_is_base", [True, False])
def test_two_loras_of_one_file_guide_and_refer_without_a_third_unet(host, minis, reference_is_base):
    """Domain and reference_model on the weights of one second UNet: two UNets are evaluated, as their difference
    demands.
    """
    s = build(minis)
    copy = second_copy(s, minis)
    reference = copy if reference_is_base else with_lora(s, minis, copy, 0.5)
    guided = s.guide(s.model, with_lora(s, minis, copy), reference_model=reference, domain_conditioning=s.prompt(EMPTY))
    with watch_evaluations() as seen:
        result = host.samples(s.graph, s.sample(guided, seed=113))
    assert len(seen.models()) == 2
    shared_reference = s.model if reference_is_base else with_lora(s, minis, s.model, 0.5)
    same = s.guide(
        s.model, with_lora(s, minis, copy), reference_model=shared_reference, domain_conditioning=s.prompt(EMPTY)
    )
    assert_same(result, host.samples(s.graph, s.sample(same, seed=113)))


def factors(number):
    """Two factors of a number, the first as near to its root as can be."""
    return next((small, number // small) for small in range(int(number**0.5), 0, -1) if number % small == 0)


def kronecker(rank1, rank2, tucker=False):
    """LoKr of the given ranks; 0 is a factor that is kept whole. tucker: the core of a convolution on its own."""

    def tensors(shape, draw):
        (rows1, rows2), (columns1, columns2) = factors(shape[0]), factors(shape[1])
        kernel = shape[2:]
        if rank1:
            yield from (("lokr_w1_a", draw(rows1, rank1)), ("lokr_w1_b", draw(rank1, columns1)))
        else:
            yield "lokr_w1", draw(rows1, columns1)
        if not rank2:
            yield "lokr_w2", draw(rows2, columns2, *kernel)
        elif tucker and kernel:
            yield from (("lokr_t2", draw(rank2, rank2, *kernel)), ("lokr_w2_a", draw(rank2, rows2)))
            yield "lokr_w2_b", draw(rank2, columns2)
        else:
            yield from (("lokr_w2_a", draw(rows2, rank2)), ("lokr_w2_b", draw(rank2, columns2 * math.prod(kernel))))

    return tensors


def hadamard(tucker):
    def tensors(shape, draw, rank=3):
        kernel = shape[2:]
        for side in (1, 2):
            if tucker and kernel:
                yield f"hada_t{side}", draw(rank, rank, *kernel)
                yield from ((f"hada_w{side}_a", draw(rank, shape[0])), (f"hada_w{side}_b", draw(rank, shape[1])))
            else:
                yield f"hada_w{side}_a", draw(shape[0], rank)
                yield f"hada_w{side}_b", draw(rank, math.prod(shape[1:]))

    return tensors


KINDS = {
    "lokr": kronecker(0, 0),
    "lokr, first factor decomposed": kronecker(3, 0),
    "lokr, second factor decomposed": kronecker(0, 3),
    "lokr, both decomposed at other ranks": kronecker(2, 3),
    "lokr, tucker": kronecker(0, 3, tucker=True),
    "lokr, tucker, both decomposed": kronecker(2, 3, tucker=True),
    "loha": hadamard(False),
    "loha, tucker": hadamard(True),
}


def adapter_file(minis, kind):
    """A LoRA file of one kind, on every linear and convolution inside of the UNet."""
    generator, out = torch.Generator().manual_seed(5), {}

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.3

    for name, weight in weights("sd15").items():
        if name.endswith(".weight") and weight.dim() > 1 and not name.startswith(("out.", "input_blocks.0.")):
            base = f"diffusion_model.{name.removesuffix('.weight')}"
            out |= {f"{base}.{part}": tensor for part, tensor in KINDS[kind](weight.shape, draw)}
            out[f"{base}.alpha"] = torch.tensor(1.5)
    file = "".join(c if c.isalnum() else "_" for c in kind) + ".safetensors"
    save_file(out, str(minis.root / "loras" / file))
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_every_adapter_that_is_a_difference_of_weights_runs_beside_them(host, minis, kind):
    """Against the host's own patching, on a second copy of the weights."""
    s, file = build(minis), adapter_file(minis, kind)
    shared, separate = (
        s.guide(
            s.model,
            s.graph.add("LoraLoaderModelOnly", model=model, lora_name=file, strength_model=0.6),
            domain_conditioning=s.prompt(EMPTY),
        )
        for model in (s.model, second_copy(s, minis))
    )
    result = host.samples(s.graph, s.sample(shared))
    assert_same(result, host.samples(s.graph, s.sample(separate)), 2e-5)
    assert_differs(result, host.samples(s.graph, s.sample(s.model)))
