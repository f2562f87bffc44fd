"""The inputs of Adapt Generator that say what the critic's score is, and what holds the source beside it."""

from __future__ import annotations

from comfy_api.latest import io


def score_inputs() -> list[io.Input]:
    """Noise range, score and regularisers, in the order in which saved workflows have them."""
    return [
        io.Float.Input(
            "noise_low",
            default=0.01,
            min=0.0,
            max=1.0,
            step=0.01,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="Lower end of the noise range that is scored, as a share of the critic's noise levels "
            "(0 to 1). Low noise affects fine details.",
        ),
        io.Float.Input(
            "noise_high",
            default=0.5,
            min=0.0,
            max=1.0,
            step=0.01,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="Upper end of the noise range that is scored, as a share of the critic's noise levels "
            "(0 to 1). High noise affects shapes; 0.3 keeps those of the source.",
        ),
        io.Combo.Input(
            "score",
            options=["sds", "likelihood"],
            default="sds",
            optional=True,
            advanced=True,
            tooltip="sds: score distillation, as in the paper. likelihood: does not subtract the noise that "
            "was added, and needs a small cfg of about 7.5.",
        ),
        io.Float.Input(
            "percentile",
            default=0.95,
            min=0.01,
            max=1.0,
            step=0.01,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="The largest values of each image's gradient are clipped to this percentile (0.95 clips "
            "the top 5%). 1 clips nothing, which is usual for EG3D.",
        ),
        io.Boolean.Input(
            "unit_directional",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Scales both sides of the directional regulariser to the same length first, so that its "
            "weight does not depend on cfg.",
        ),
        io.Float.Input(
            "relative_distance",
            default=0.0,
            min=0.0,
            max=100_000.0,
            step=1.0,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="Weight of a loss that keeps images as different from each other as the source's are. "
            "Needs a batch_size of at least 3; 0 turns it off.",
        ),
        io.Float.Input(
            "perceptual",
            default=0.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="Weight of the LPIPS distance to the source's images; 0 turns it off. Needs the Python "
            "package lpips and VGG's weights on disk.",
        ),
    ]


def scale_inputs() -> list[io.Input]:
    """How large the score is before it is clamped; they came later, so they stand last."""
    return [
        io.Boolean.Input(
            "unit_score",
            default=False,
            optional=True,
            advanced=True,
            tooltip="Scales the critic's noise and the added noise to the same length first, so that the "
            "score's strength does not depend on cfg. Usual for EG3D.",
        ),
        io.Float.Input(
            "loss_scale",
            default=1.0,
            min=0.0001,
            max=1.0,
            step=0.01,
            round=0.0001,
            optional=True,
            advanced=True,
            tooltip="Factor on every loss before the gradient is clamped. 0.01 is usual for EG3D.",
        ),
    ]
