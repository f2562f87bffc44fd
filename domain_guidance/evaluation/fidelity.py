"""FID through torch-fidelity, which the optional extra `eval` brings."""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import ImageError, Pictures

logger = logging.getLogger(__name__)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The Fréchet distance of FID (Heusel et al. 2017, equation 6) between features [N, D] and [M, D].

    It is FID only on Inception features. Its estimate is biased upwards for small N, so say N with it and compare only
    at the same N. 0 for a set with itself, to rounding. Raises ValueError where torch-fidelity is not installed, or for
    fewer than 2 images.
    """
    _check_installed()
    if min(len(x), len(y)) < 2:
        raise ValueError(f"The distance is between {len(x)} and {len(y)} images: give at least 2 of each.")
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    statistics = (fid_features_to_statistics(features.double().cpu()) for features in (x, y))
    return fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]


def load_inception(weights: str | os.PathLike) -> nn.Module:
    """Load FID's network on the CPU, without running anything that is in the file of its weights.

    torch-fidelity itself would run it. weights: the file of torch-fidelity's InceptionV3. Nothing is downloaded. Raises
    ValueError where torch-fidelity is not installed or the file is something else.
    """
    _check_installed()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = Path(weights)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "weights.pth")
            torch.save(state, copy)
            return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=copy)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, TypeError) as error:
        raise ValueError(
            f"'{path.name}' does not hold torch-fidelity's InceptionV3 weights: give the file that it downloads."
        ) from error


@torch.no_grad()
def inception_features(source: Pictures, network: nn.Module, device: torch.device, check: Callable[[], None]) -> Tensor:
    """FID's features [N, 2048] of all readable pictures of a source, each resized as its original did.

    network: see `load_inception`; it is moved to the device. check: called before each picture; it may raise. Raises
    ValueError where no picture can be read.
    """
    network, features = network.to(device), []
    for index in range(len(source)):
        check()
        try:
            levels = ((source.load(index) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        except ImageError as error:
            logger.warning("'%s' is left out, because %s.", source.name(index), error)
            continue
        features.append(network(levels[None].to(device))[0].cpu())
    if not features:
        raise ValueError(f"None of the {len(source)} images can be read: look into the log for the reasons.")
    return torch.cat(features)


def _check_installed() -> None:
    if find_spec("torch_fidelity") is None:
        raise ValueError(
            "FID needs the package torch-fidelity, which is not installed: install it, or leave the option off."
        )
