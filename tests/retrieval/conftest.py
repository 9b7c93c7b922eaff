"""A tiny corpus and an untrained model over it: embedding and search are the same whether the model learnt or not."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from antiphon import checkpoint
from antiphon.config import to_dict
from antiphon.data.vocabulary import make_tokenizer
from antiphon.experiments import maestro
from antiphon.models import build
from antiphon.train.optim import OptimConfig, make_optimizer


@dataclass(frozen=True, kw_only=True)
class World:
    """Paths of a corpus and of two checkpoints of one shape with other weights."""

    shards: Path
    run: Path
    other_run: Path


@pytest.fixture(scope="session")
def world(tiny_stew: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    tokenizer = make_tokenizer([tiny_stew], folder / "tokenizer", vocab_size=64)
    experiment = maestro.tiny()
    config = replace(experiment.model, vocab_size=tokenizer.vocab_size, num_phones=tokenizer.num_phones)
    runs = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = build(config)
        runs.append(folder / f"run-{seed}")
        checkpoint.save(
            runs[-1], model=model, optimizer=make_optimizer(OptimConfig(), model), state={"step": 0},
            experiment=to_dict(replace(experiment, model=config)), tokenizer=folder / "tokenizer", keep=1,
        )  # fmt: skip
    return World(shards=tiny_stew, run=runs[0], other_run=runs[1])
