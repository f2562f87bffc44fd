"""`python -m domain_guidance info`: a card in plain words."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from domain_guidance.commands.info import describe
from domain_guidance.domains.adapter_file import write_adapter_file
from domain_guidance.domains.domain_file import DomainCard, write_domain_file

CARD = DomainCard(
    form="text-free", prediction="epsilon", base_fingerprint="0123456789abcdef", base_name="toy", training={"steps": 3}
)
TRAINED = {
    "form": "text-free",
    "trained_steps": 900,
    "images": 20,
    "held_out_images": 4,
    "held_out_loss": 0.12345,
    "train_loss": 0.1,
    "learning_rate": 1e-05,
    "batch_size": 2,
    "seed": 7,
}


def test_the_card_is_told_in_plain_words():
    card = DomainCard("text-free", "v_prediction", "00ff", "cups base", 2.0, 4.5, True, 3.5, TRAINED)
    told = " ".join(describe(card))
    for words in (
        "text-free",
        "cups base",
        "00ff",
        "velocity",
        "zero terminal SNR",
        "guidance is 3.5",
        "weight 2, cfg 4.5",
        "900 steps",
        "20 images",
        "4 more",
        "0.1235",
        "0.1000",
        "learning rate 1e-05",
        "batch size 2",
        "seed 7",
    ):
        assert words in told
    assert all(line.endswith(".") for line in describe(card))


def test_an_adapters_card_says_so_and_a_card_without_a_record_says_that():
    assert "LoRA" in next(describe(dataclasses.replace(CARD, form="text-based", training={"form": "adapter"})))
    assert list(describe(CARD))[-1] == "How it was trained is not recorded."
    assert "guidance" not in " ".join(describe(CARD))


def test_the_info_command_reads_a_card_and_refuses_other_files_in_one_sentence(tmp_path):
    path, adapter, prompt = tmp_path / "cups.safetensors", tmp_path / "lora.safetensors", torch.ones(1, 1, 1)
    write_domain_file(path, {"out.weight": torch.ones(2)}, card=CARD, cross_attn=prompt)
    write_adapter_file(adapter, {"out.alpha": torch.ones(())}, card=CARD, cross_attn=prompt)

    def run(*files):
        command = [sys.executable, "-m", "domain_guidance", "info", *map(str, files)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    status, said = run(path, adapter)
    assert (
        status == 0
        and "cups.safetensors" in said
        and "lora.safetensors" in said
        and "Recommended: weight 1.5, cfg 3." in said
    )
    save_file({"a": torch.ones(1)}, path)
    status, said = run(path)
    assert status == 1 and "Stopped: 'cups.safetensors' is not a domain file" in said and "Traceback" not in said
