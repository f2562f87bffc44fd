"""Domain adapters, as Train Domain writes them, with seeded random tensors: those of `MiniModels.lora`."""

from mini_models import FAMILIES, empty_embedding, lora, weights


def domain_adapter(host, minis, family="sd15", *, name=None, base_fingerprint=None, cross_attn=None):
    """loras/<name>, written on first use.

    `base_fingerprint` names another base, `cross_attn` replaces the tests' empty prompt.
    """
    name = name or f"{family}_{base_fingerprint or 'own'}_adapter.safetensors"
    path, base, (empty, pooled) = minis.root / "loras" / name, weights(family), empty_embedding(family)
    if not path.exists():
        card = host.library("domain_guidance.domains.card").DomainCard(
            form="text-based",
            prediction=FAMILIES[family][3],
            base_fingerprint=base_fingerprint or minis.fingerprint(base),
            base_name=f"mini {family}",
        )
        write = host.library("domain_guidance.domains.adapter_file").write_adapter_file
        write(path, lora(base), card=card, cross_attn=empty if cross_attn is None else cross_attn, pooled_output=pooled)
    return name
