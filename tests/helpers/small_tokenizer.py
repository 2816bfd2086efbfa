"""A small tokenizer of the hub in the form of SigLIP's: sentencepiece-like, trained on four sentences."""

import json
from pathlib import Path

from kinetext.backbones.text_tokens import FILE, SETTINGS

TEXTS = [
    "a square that is moving to the right",
    "it moves up, then down",
    "up and down, and back again",
    "Moving LEFT!",
]


def write(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json. Needs the package tokenizers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_padding(length=5)  # what a file may hold, and must not matter
    tokenizer.enable_truncation(4)
    tokenizer.save(str(folder / FILE))
    (folder / SETTINGS).write_text(json.dumps({"pad_token": {"content": "<pad>"}, "eos_token": "</s>"}))
