"""Host conditioning as the guidance needs it: the same picture-side state, another text.

`entries` are the host's processed conditions of one sampling input, a list of dicts, one per prompt, area or mask.
"""

from __future__ import annotations

from comfy.sampler_helpers import convert_cond
from torch import Tensor, equal, linalg

# Where and when an entry counts, and what stands by it.
PLACE = frozenset(
    (
        *("area", "mask", "strength", "mask_strength", "set_area_to_bounds"),
        *("start_percent", "end_percent", "timestep_start", "timestep_end"),
        *("control", "control_apply_to_uncond"),
    )
)
# What an entry has of the picture: its place, its sizes, and what else was connected. Everything else is what the
# prompt says: text encoders put ever more beside their embedding, under names that nobody can list.
STRUCTURE = PLACE | frozenset(
    (
        "guidance",
        *("width", "height", "crop_w", "crop_h", "target_width", "target_height", "aspect_ratio", "aesthetic_score"),
        *("concat_latent_image", "concat_mask", "concat_mask_index", "concat_image", "noise_concat", "denoise_mask"),
        *("reference_latents", "reference_latents_method", "reference_latents_text_embeds", "reference_motion"),
        *("reference_strength", "ref_latent", "ref_audio", "ref_mask_28ch", "ref_mask_flag", "context_latents"),
        *("clip_vision_output", "clip_vision_outputs", "clip_vision_output_ref", "clip_vision_output_pose"),
        *("stable_cascade_prior", "lq_latent", "degrade_sigma", "noise_augmentation", "augmentation_level", "ofs"),
        *("frame_rate", "fps", "motion_bucket_id", "elevation", "azimuth", "camera_conditions", "guiding_frame_index"),
        *("keyframe_idxs", "generated_keyframes", "guide_attention_entries", "time_dim_concat", "time_dim_replace"),
        *("vace_frames", "vace_mask", "vace_strength", "control_video", "face_video_pixels", "driving_mask_28ch"),
        *("pose_video_latent", "pose_strength", "cross_attn_pose", "audio_embed", "audio_inject_scale"),
        *("minimax_keyframes", "minimax_refs", "minimax_audio_cond_noise_aug", "minimax_visual_cond_noise_aug"),
    )
)
# The host's own notes on an entry.
OF_THE_HOST = frozenset(("model_conds", "uuid", "default", "prompt_type", "clip_start_percent", "clip_end_percent"))
# An entry with one of these is evaluated with more than its text embedding, so it is no plain empty prompt.
BEYOND_TEXT = frozenset(("hooks", "gligen", "unclip_conditioning"))
MASKING = frozenset(("mask", "strength", "mask_strength", "set_area_to_bounds"))
# What the host puts into force for a sampler's own prompts alone, with the input of the node that takes its place.
NOT_IN_A_TERM = {
    "area": "mask",
    "mask": "mask",
    "start_percent": "start_percent and end_percent",
    "end_percent": "start_percent and end_percent",
    "hooks": "term_model (the model with that LoRA)",
    "gligen": "mask",
}
# fp16 and fp32 text encoders agree on one prompt to about 1e-3 (our choice); two prompts differ by more than 0.1.
SAME_PROMPT = 1e-2


def structure(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key in STRUCTURE}


def with_inputs_of(entries: list[dict], sampled: list[dict]) -> list[dict]:
    """`entries` in their own places, with the inputs beside the text (references, guidance, sizes) that `sampled` has;
    themselves where those are the same, or differ within `sampled`.
    """
    inputs = [{key: value for key, value in structure(entry).items() if key not in PLACE} for entry in sampled]
    if not inputs or not all(same(inputs[0], other) for other in inputs[1:]):
        return entries
    if all(same(inputs[0], {key: entry[key] for key in entry.keys() & inputs[0].keys()}) for entry in entries):
        return entries
    return [{**entry, **inputs[0]} for entry in entries]


def without(key: str, entries: list[dict]) -> list[dict]:
    """`entries` themselves where none has `key`."""
    if all(entry.get(key) is None for entry in entries):
        return entries
    return [{name: value for name, value in entry.items() if name != key} for entry in entries]


def has_control(entries: list[dict]) -> bool:
    return any(entry.get("control") is not None for entry in entries)


def controls_of(*conditionings: list | None) -> list:
    """The ControlNets on host conditionings, [[cross_attn, {...}]], each once."""
    found = [
        options["control"]
        for given in conditionings
        for _, options in given or ()
        if options.get("control") is not None
    ]
    return list({id(control): control for control in found}.values())


def mirror(entries: list[dict], conditioning: list, *, collapse: bool = True) -> list[dict]:
    """`entries` with their text replaced by `conditioning` (host form, [[cross_attn, {...}]]), not yet encoded.

    Everything else stays, so that a term compares two models under one area, mask, control, size and inpainting input.
    collapse: one entry where several would be one and the same evaluation.
    """
    return [
        {**structure(entry), **prompt, "prompt_type": "negative"}
        for entry in (_without_needless_masks(entries) if collapse else entries)
        for prompt in convert_cond(conditioning)
    ]


def again(entries: list[dict], kind: str) -> list[dict]:
    """The sampler's own `entries`, to be encoded for another network. kind: "positive" or "negative"."""
    return [{**entry, "prompt_type": kind} for entry in entries]


def _without_needless_masks(entries: list[dict]) -> list[dict]:
    """One entry where all would be the same evaluation, blended with itself.

    A mask changes where an evaluation counts, not what it is.
    """
    unmasked = [entry for entry in entries if entry.get("mask") is None]
    bare = [{key: value for key, value in structure(entry).items() if key not in MASKING} for entry in entries]
    if unmasked and all(same(bare[0], other) for other in bare[1:]):
        return unmasked[:1]
    return entries


def is_evaluation(entries: list[dict], encoded: list[dict], tolerance: float = SAME_PROMPT) -> bool:
    """Whether the sampler's `entries` are evaluations of what `encoded` are: the same inputs in the same structure.

    Encoded inputs are compared and not prompts, because the host's area copies of a prompt carry another one's text.
    tolerance: the relative difference that text encoders may make; 0 for prompts that a user wrote.
    """
    return len(entries) == len(encoded) and all(
        not BEYOND_TEXT & a.keys()
        and same(_place(a), _place(b))
        and same_inputs(a["model_conds"], b["model_conds"], tolerance)
        for a, b in zip(entries, encoded)
    )


def _place(entry: dict) -> dict:
    """Where and when an entry counts.

    Flux's guidance is an encoded input, whether the prompt names it or leaves it to the host.
    """
    return {key: value for key, value in structure(entry).items() if key != "guidance"}


def same_inputs(a: dict, b: dict, tolerance: float = SAME_PROMPT) -> bool:
    """Whether two entries' `model_conds` say the same to a network, to `tolerance`."""
    return a.keys() == b.keys() and all(close(a[key].cond, b[key].cond, tolerance) for key in a)


def reads_pooled(entry: dict) -> bool:
    """Whether the model turned the prompt's pooled vector into an input.

    SD1.5's prompts carry one that nobody reads.
    """
    return entry.get("pooled_output") is not None and "y" in entry["model_conds"]


def same_conditioning(a: list, b: list) -> bool:
    """Whether two host conditionings, [[cross_attn, {...}]], hold the same tensors."""
    return same([(text, dict(rest)) for text, rest in a], [(text, dict(rest)) for text, rest in b])


def check_prompt(entries: list[dict], conditioning: list, expected: int | None) -> None:
    """Raises ValueError if `conditioning` is another text encoder's.

    It lacks the pooled vector that the sampler's own prompts, `entries`, carry, or has not the `expected` values per
    token.
    """
    if any(map(reads_pooled, entries)) and any(prompt[1].get("pooled_output") is None for prompt in conditioning):
        raise ValueError(
            "A prompt for the domain guidance has no pooled vector, but this model family reads one: encode the "
            "prompt with this family's text encoders and connect it to domain_conditioning or conditioning."
        )
    for embedding, _ in conditioning:
        check_width(None if embedding is None else embedding.shape[-1], expected)


def check_width(width: int | None, expected: int | None) -> None:
    """Raises ValueError if a prompt is not as wide as the network reads it.

    width: values per token of the prompt, None without text. expected: what the network reads, None if it does not say.
    """
    if width is not None and expected is not None and width != expected:
        raise ValueError(
            f"A prompt for the domain guidance has {width} values per token, but the model expects {expected}: "
            "encode that prompt with the text encoder of this model and connect it to domain_conditioning or "
            "conditioning."
        )


def check_whole(conditioning: list) -> None:
    """Raises ValueError for a prompt that acts in a part of the picture or of the time, or with weights of its own."""
    for key, instead in NOT_IN_A_TERM.items():
        if any(options.get(key) is not None for _, options in conditioning):
            raise ValueError(
                f"The conditioning of a Domain Guidance Term carries '{key}', which ComfyUI applies only to a "
                f"sampler's own prompts: connect the plain prompt and use the node's {instead} instead."
            )


def width(entries: list[dict]) -> int | None:
    """Values per token of the prompts in `entries`; None where they have no text."""
    return next((entry["cross_attn"].shape[-1] for entry in entries if entry.get("cross_attn") is not None), None)


def close(a, b, tolerance: float) -> bool:
    """Whether two values are the same; tensors to a relative difference of `tolerance`."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return same(a, b)
    if a.shape != b.shape:
        return False
    a, b = a.float(), b.to(a.device).float()
    return bool(linalg.vector_norm(a - b) <= tolerance * linalg.vector_norm(b))


def same(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.device == b.device and equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    # Host objects (a ControlNet, a CLIP vision output) are the same only as one object.
    return isinstance(a, (int, float, str, bool)) and a == b
