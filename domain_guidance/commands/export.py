"""`python -m domain_guidance export`: an adapter as a LoRA for diffusers."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..diffusers_host.folder import DiffusersFolder
from ..diffusers_host.lora_export import as_diffusers_lora
from ..domains.adapter_file import read_adapter_file
from ..files.atomic_file import save_tensors
from .command import Command
from .interrupts import Check

logger = logging.getLogger(__name__)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("adapter", type=Path, metavar="ADAPTER", help="adapter written by train or by Train Domain")
    parser.add_argument("target", type=Path, metavar="OUT", help="LoRA to write, a .safetensors")
    parser.add_argument(
        "--base",
        required=True,
        metavar="DIR",
        help="folder of the base model, in the format of diffusers; only its configuration is read",
    )


def export(options: argparse.Namespace, check: Check) -> None:
    """Write the LoRA, atomically. Raises ValueError for another base, or a target that is there already."""
    if options.target.suffix != ".safetensors":
        raise ValueError(f"OUT is '{options.target.name}', expected the name of a .safetensors file.")
    file = read_adapter_file(options.adapter)
    base = DiffusersFolder(options.base)
    if "unet" not in base.index:
        raise ValueError(
            f"'{options.base}' is a {base.index.get('_class_name')} without a UNet, but only adapters of UNets can be "
            "exported: use the adapter in ComfyUI, with Load Domain Adapter."
        )
    lora = as_diffusers_lora(file.tensors, base.unet_without_weights())
    try:
        save_tensors(options.target, lora, {}, free=True)
    except FileExistsError as error:
        raise ValueError(f"'{options.target}' exists already: delete it or choose another name.") from error
    logger.info(
        "'%s' is written: %d layers, for pipeline.load_lora_weights; as a domain, use the adapter itself",
        options.target,
        len(lora) // 2,
    )


EXPORT = Command(
    name="export",
    summary="write an adapter as a LoRA that diffusers reads",
    add_options=add_export_options,
    run=export,
)
