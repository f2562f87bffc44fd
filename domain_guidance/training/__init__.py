"""Training a domain from pictures: what is trained, its loss, the held-out loss and previews."""

from .domain_run import train_domain
from .loss import Batch, min_snr, noise_loss, noise_objective
from .run_settings import RunSettings
from .trainable import Trainable

__all__ = ["Batch", "RunSettings", "Trainable", "min_snr", "noise_loss", "noise_objective", "train_domain"]
