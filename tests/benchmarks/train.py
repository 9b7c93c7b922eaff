"""One training step of maestro.small on random batches: fp32 against bf16, where the time goes, share of the peak.

    python tests/benchmarks/train.py [--threads 2] [--steps 8]

A step is a paired and a text micro-batch, as in the last phase of the experiment. The share is of the rate of a large
fp32 or bf16 matrix product in the same run; operations are those of the matrix products, counted by torch.
"""

import argparse
from statistics import median
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

from antiphon.data.batch import Batch, pad
from antiphon.experiments import maestro
from antiphon.models import build
from antiphon.train.optim import clip, make_optimizer

UTTERANCES, SECONDS = 10, 3.0


def make_batches(num_phones: int, vocab_size: int) -> tuple[Batch, Batch]:
    """A paired and a text batch of ten utterances of three seconds, 32 phones and 22 wordpieces each."""
    torch.manual_seed(0)
    keys = tuple(f"u{row}" for row in range(UTTERANCES))
    mel, mel_len = pad([torch.randn(int(SECONDS * 100), 80) for _ in keys])
    tokens, tokens_len = pad([torch.randint(1, vocab_size, (22,)) for _ in keys])
    phones, phones_len = pad([torch.randint(1, num_phones, (32,)) for _ in keys])
    text = {"tokens": tokens, "tokens_len": tokens_len, "phones": phones, "phones_len": phones_len}
    return Batch(kind="paired", keys=keys, mel=mel, mel_len=mel_len, **text), Batch(kind="text", keys=keys, **text)


def matmul_rate(dtype: torch.dtype) -> float:
    """Operations a second of a 1024 x 1024 x 1024 product, best of ten."""
    left, right = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
    best = min(_seconds(lambda: left @ right) for _ in range(10))
    return 2 * 1024**3 / best


def _seconds(work: object) -> float:
    started = perf_counter()
    work()  # type: ignore[operator]
    return perf_counter() - started


def measure(half: bool, steps: int) -> tuple[float, float, float]:
    """Seconds of a step's forward and backward passes, of its update, and operations of its matrix products."""
    experiment = maestro.small()
    torch.manual_seed(0)
    model = build(experiment.model).train()
    optimizer = make_optimizer(experiment.optim, model, half=half)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batches = make_batches(experiment.model.num_phones, experiment.model.vocab_size)

    def passes() -> None:
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                loss = model(batch)
            loss.total.backward()

    def update() -> None:
        clip(parameters, experiment.optim.clip_norm)
        optimizer.step()
        model.after_step(1)

    with FlopCounterMode(display=False) as counter:
        passes()
    update()
    times = [(_seconds(passes), _seconds(update)) for _ in range(steps)]
    return median(t[0] for t in times), median(t[1] for t in times), float(counter.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    whole = {}
    for half, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        rate = matmul_rate(dtype)
        passes, update, operations = measure(half, arguments.steps)
        whole[half] = passes + update
        name = "bf16" if half else "fp32"
        rates = f"{UTTERANCES * SECONDS / whole[half]:5.0f} audio s/s, {whole[half] * 1e3:4.0f} ms a step"
        share = f"passes at {operations / passes / rate:.0%} of {rate / 1e9:,.0f} GFLOP/s"
        print(f"{name}: {rates}, of it update {update / whole[half]:.0%}; {share}")
    print(f"bf16 against fp32: {whole[False] / whole[True]:.2f} x, {arguments.threads} threads")


if __name__ == "__main__":
    main()
