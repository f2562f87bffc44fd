"""Domain guidance as a patch on a MODEL: which models take part, and the three places where the host lets us in.

    SAMPLER_SAMPLE   a run begins and ends: `GuidanceRun` is made from the processed conditions
    CALC_COND_BATCH  the raw predictions of the sampler's own prompts pass by and are kept
    PREDICT_NOISE    the guider's result leaves, with the terms added

All are keyed wrappers on a clone; nothing that is not connected changes. Terms live in an attachment and their models in
the patcher's additional models, so the host clones, loads and counts them with the MODEL.
"""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from .guidance_plan import GuidancePlan
from .guidance_run import GuidanceRun, warn_of_burn
from .observation import OBSERVER
from .terms import KEY, DomainTerm, ModelSource, terms_of
from .weight_difference import difference


def add_term(
    model: ModelPatcher, domain: ModelPatcher, reference_model: ModelPatcher | None, **settings
) -> ModelPatcher:
    """A clone of `model` that carries one more domain term; `settings` are the plain fields of `DomainTerm`."""
    patched = model.clone()
    models = list(patched.get_additional_models_with_key(KEY))
    reference = None if reference_model is None else _place(reference_model, patched, models)
    term = DomainTerm(domain=_place(domain, patched, models), reference_model=reference, **settings)
    patched.set_additional_models(KEY, models)
    patched.set_attachments(KEY, (*terms_of(model), term))
    _wrap(patched)
    return patched


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
        (WrappersMP.PREDICT_NOISE, _add_terms),
    ):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)


def _run(model_options: dict) -> GuidanceRun | None:
    return model_options.get("transformer_options", {}).get(KEY)


def _planned_run(guider, options: dict, sigmas, **encoding) -> GuidanceRun:
    models = guider.model_patcher.get_additional_models_with_key(KEY)
    branches = GuidancePlan(guider, models, options, sigmas, **encoding).branches(terms_of(guider.model_patcher))
    warn_of_burn(getattr(guider, "cfg", 1.0), branches)
    return GuidanceRun(guider.inner_model, models, branches, guider.model_patcher.get_attachment(OBSERVER))


def _sample(executor, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
    options = extra_args["model_options"]
    run = _planned_run(
        guider, options, sigmas, noise=noise, latent_image=latent_image, denoise_mask=denoise_mask, seed=extra_args.get("seed")
    )
    options["transformer_options"][KEY] = run
    try:
        run.open()
        return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
    finally:
        del options["transformer_options"][KEY]
        run.close()


def _keep_predictions(executor, model, conds, x_in, timestep, model_options):
    outputs = executor(model, conds, x_in, timestep, model_options)
    run = _run(model_options)
    if run is not None:
        run.keep(model, conds, x_in, outputs)
    return outputs


def _add_terms(executor, x, timestep, model_options={}, seed=None):
    run = _run(model_options)
    if run is None:
        return executor(x, timestep, model_options, seed)
    with run.watching(x):
        denoised = executor(x, timestep, model_options, seed)
    return run.guide(denoised, x, timestep, model_options)
