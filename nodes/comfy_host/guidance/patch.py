"""Guidance as a patch on a MODEL: which models take part, and the four places where the host lets us in.

    SAMPLER_SAMPLE   a run begins and ends: `GuidanceRun` is made from the processed conditions
    CALC_COND_BATCH  the raw predictions of the sampler's own prompts pass by and are kept
    APPLY_MODEL      what ControlNets gave to those prompts passes by and is kept; adapters act on the prompt's rows
    PREDICT_NOISE    the guider's result leaves, with the terms added

All are keyed wrappers on a clone; nothing that is not connected changes. Terms live in an attachment, their models and
ControlNets in the patcher's additional models, so the host clones, loads and counts them with the MODEL.
"""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .conditioning import controls_of
from .observation import OBSERVER
from .plan import GuidancePlan
from .prompt_branch import PromptTerm
from .run import GuidanceRun
from .terms import DRAWS_NOTHING, JUDGED, KEY, GuidanceTerm, ModelSource, terms_of
from .warnings import say_nothing_is_held, warn_of_burn, warn_of_distilled, warn_of_fresh_noise, warn_of_idle
from .weight_difference import difference

CONTROLS = f"{KEY}.controls"


def add_term(
    model: ModelPatcher,
    term_model: ModelPatcher | None,
    reference_model: ModelPatcher | None,
    kind: type[GuidanceTerm] = GuidanceTerm,
    **settings,
) -> ModelPatcher:
    """A clone of `model` that carries one more term; `settings` are the plain fields of its kind."""
    patched = model.clone()
    models = list(patched.get_additional_models_with_key(KEY))
    sources = [None if other is None else _place(other, patched, models) for other in (term_model, reference_model)]
    term = kind(model=sources[0], reference_model=sources[1], **settings)
    patched.set_additional_models(KEY, models)
    patched.set_additional_models(CONTROLS, patched.get_additional_models_with_key(CONTROLS) + _control_models(term))
    patched.set_attachments(KEY, (*terms_of(model), term))
    _wrap(patched)
    return patched


def _control_models(term: GuidanceTerm) -> list[ModelPatcher]:
    return [model for control in controls_of(term.prompt, term.minus) for model in control.get_models()]


def _place(model: ModelPatcher, base: ModelPatcher, models: list[ModelPatcher]) -> ModelSource:
    """Adds `model` to `models`, unless its weights are there already: two patchers cannot both patch one UNet."""
    for position, other in ((None, base), *enumerate(models)):
        if model.model is other.model:
            difference(model, other, add_only=False)  # a LoRA that cannot run beside the weights is refused here
            return ModelSource(model, position)
    models.append(model.clone())
    return ModelSource(model, len(models) - 1)


def _wrap(model: ModelPatcher) -> None:
    for kind, wrapper in (
        (WrappersMP.SAMPLER_SAMPLE, _sample),
        (WrappersMP.CALC_COND_BATCH, _keep_predictions),
        (WrappersMP.APPLY_MODEL, _in_a_batch),
        (WrappersMP.PREDICT_NOISE, _add_terms),
    ):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)


def _run(model_options: dict) -> GuidanceRun | None:
    return model_options.get("transformer_options", {}).get(KEY)


def _planned_run(guider, sampler, options: dict, sigmas, **encoding) -> GuidanceRun:
    models, everything = guider.model_patcher.get_additional_models_with_key(KEY), terms_of(guider.model_patcher)
    on_prompt = [term for term in everything if isinstance(term, PromptTerm)]
    terms = [term for term in everything if not isinstance(term, PromptTerm)]
    plan = GuidancePlan(guider, models, options, sigmas, **encoding)
    branches, adapters = plan.branches(terms), plan.prompt_branches(on_prompt)
    if guider.model_patcher.get_attachment(DRAWS_NOTHING):
        say_nothing_is_held(branches)
    else:
        if not guider.model_patcher.get_attachment(JUDGED):
            warn_of_burn(getattr(guider, "cfg", 1.0), branches, sigmas)
        warn_of_distilled(guider, terms, branches)
        warn_of_fresh_noise(sampler, branches)
        weights = [term.weight for term in (*terms, *on_prompt)]
        warn_of_idle([*(b.weight_at for b in branches), *(a.share_at for a in adapters)], weights, sigmas)
    return GuidanceRun(plan, branches, adapters, guider.model_patcher.get_attachment(OBSERVER))


def _sample(
    executor, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
):
    options = extra_args["model_options"]
    run = _planned_run(
        guider,
        executor.class_obj,
        options,
        sigmas,
        noise=noise,
        latent_image=latent_image,
        denoise_mask=denoise_mask,
        seed=extra_args.get("seed"),
    )
    options["transformer_options"][KEY] = run
    try:
        run.open()
        return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
    finally:
        del options["transformer_options"][KEY]
        run.close()


def _keep_predictions(executor, model, conds, x_in, timestep, model_options):
    run = _run(model_options)
    if run is None:
        return executor(model, conds, x_in, timestep, model_options)
    with run.asking(model, conds, x_in):
        outputs = executor(model, conds, x_in, timestep, model_options)
    run.keep(model, conds, x_in, outputs)
    return outputs


def _in_a_batch(
    executor,
    x,
    t,
    c_concat=None,
    c_crossattn=None,
    control=None,
    transformer_options={},  # noqa: B006
    **kwargs,
):
    run = transformer_options.get(KEY)
    if run is None:
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
    if control is not None:
        run.keep_control(executor.class_obj, x, t, control, transformer_options)
    with run.with_adapters(executor.class_obj, x, t, transformer_options):
        return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)


def _add_terms(executor, x, timestep, model_options={}, seed=None):  # noqa: B006 (both are the host's own signatures)
    run = _run(model_options)
    if run is None:
        return executor(x, timestep, model_options, seed)
    with run.watching(x):
        denoised = executor(x, timestep, model_options, seed)
    return run.guide(denoised, x, timestep, model_options)
