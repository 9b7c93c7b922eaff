"""The transducer loss against its peers, in one run: time and memory of a forward and a backward pass, joint included.

    python tests/benchmarks/transducer.py [--rounds 7] [--shapes wordpieces phones librispeech]

Peers: `autograd`, whole logits and a vectorised recursion that torch differentiates; `torchaudio.functional.rnnt_loss`
where it can be imported, over whole logits; our own loss over whole logits. Contestants take turns, and the best round
of each counts, in seconds of the process, so that other work on the machine disturbs little. Memory is the peak of what
torch's CPU allocator handed out. The share of the matrix-product peak is that of the three products of both passes
against a 1024^3 product in the same rounds; pruning leaves nodes out of two of them, so its share may exceed 100 %.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import process_time

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from antiphon.decoding.greedy import greedy
from antiphon.losses.lattice import occupation, viterbi
from antiphon.losses.transducer import lattice, transducer_loss, transducer_loss_fused


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of one batch; lengths are drawn from shortest..1 of the longest."""

    batch: int
    frames: int
    tokens: int
    vocab: int
    hidden: int
    shortest: float = 1.0


SHAPES = {
    "wordpieces": Shape(batch=16, frames=80, tokens=20, vocab=256, hidden=128),
    "phones": Shape(batch=16, frames=80, tokens=40, vocab=42, hidden=128),
    "librispeech": Shape(batch=4, frames=300, tokens=60, vocab=500, hidden=512, shortest=0.6),  # a thirtieth of a GPU's
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    joint: tuple[Tensor, Tensor, Tensor, Tensor]  # enc (B, T, H), pred (B, U+1, H), weight (V, H), bias (V,)
    labels: tuple[Tensor, Tensor, Tensor]  # targets (B, U), enc_lens (B,), target_lens (B,)

    @property
    def num_nodes(self) -> int:
        return int((self.labels[1] * (self.labels[2] + 1)).sum())


def draw(shape: Shape) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(size, generator=generator) * scale).requires_grad_()

    def lens(longest: int) -> Tensor:
        drawn = torch.randint(int(longest * shape.shortest), longest + 1, (shape.batch,), generator=generator)
        drawn[0] = longest
        return drawn

    b, h = shape.batch, shape.hidden
    joint = (
        normal(b, shape.frames, h),
        normal(b, shape.tokens + 1, h),
        normal(shape.vocab, h, scale=h**-0.5),
        normal(shape.vocab),
    )
    targets = torch.randint(1, shape.vocab, (b, shape.tokens), generator=generator)
    return Problem(joint=joint, labels=(targets, lens(shape.frames), lens(shape.tokens)))


def whole_logits(problem: Problem) -> Tensor:
    enc, pred, weight, bias = problem.joint
    return torch.nn.functional.linear(torch.tanh(enc.unsqueeze(2) + pred.unsqueeze(1)), weight, bias)


def by_autograd(problem: Problem) -> Tensor:
    """alpha_t(u) = emitted(u) + logcumsumexp_u(alpha_{t-1}(u) + blank_{t-1}(u) - emitted(u)), one step a frame."""
    targets, enc_lens, target_lens = problem.labels
    log_probs = whole_logits(problem).log_softmax(-1)
    frames = log_probs.shape[1]
    index = targets[:, None, :, None].expand(-1, frames, -1, -1)
    blank, emit = log_probs[..., 0], log_probs[:, :, :-1].gather(3, index).squeeze(3)
    emitted = torch.nn.functional.pad(emit.cumsum(2), (1, 0))
    rows = [emitted[:, 0]]
    for t in range(1, frames):
        rows.append(emitted[:, t] + torch.logcumsumexp(rows[-1] + blank[:, t - 1] - emitted[:, t], dim=1))
    row = torch.arange(len(targets))
    ends = enc_lens - 1, target_lens
    return -(torch.stack(rows, dim=1)[row, ends[0], ends[1]] + blank[row, ends[0], ends[1]])


def contestants(problem: Problem) -> dict[str, Callable[[], Tensor]]:
    targets, enc_lens, target_lens = problem.labels
    found: dict[str, Callable[[], Tensor]] = {
        "fused": partial(transducer_loss_fused, *problem.joint, *problem.labels),
        "fused, 8 MiB": partial(transducer_loss_fused, *problem.joint, *problem.labels, max_bytes=8 << 20),
        "fused, prune 1e-4": partial(transducer_loss_fused, *problem.joint, *problem.labels, prune=1e-4),
        "whole logits": lambda: transducer_loss(whole_logits(problem), *problem.labels),
        "autograd": lambda: by_autograd(problem),
    }
    try:
        from torchaudio.functional import rnnt_loss
    except (ImportError, OSError) as reason:
        print(f"torchaudio cannot be imported here ({reason}), so it takes no part")
        return found
    lens = targets.int(), enc_lens.int(), target_lens.int()
    found["torchaudio"] = lambda: rnnt_loss(whole_logits(problem), *lens, blank=0, reduction="none")
    return found


def step(problem: Problem, loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss().sum(), problem.joint)


def best_times(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Processor seconds of each in its best round; all take turns, and the first round warms up."""
    best = dict.fromkeys(work, float("inf"))
    for turn in range(rounds + 1):
        for name, call in work.items():
            start = process_time()
            call()
            if turn:
                best[name] = min(best[name], process_time() - start)
    return best


def peak_bytes(work: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = record.profiler.kineto_results.events()
    sizes = [size for _, size in sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")]
    return int(torch.tensor(sizes).cumsum(0).max())


def report(name: str, shape: Shape, rounds: int) -> None:
    problem = draw(shape)
    losses = contestants(problem)
    work: dict[str, Callable[[], object]] = {key: partial(step, problem, loss) for key, loss in losses.items()}
    square = torch.randn(1024, 1024)
    times = best_times({**work, "matmul": lambda: square @ square}, rounds)
    flops_per_sec = 2 * 1024**3 / times["matmul"]
    products = 6 * problem.num_nodes * shape.hidden * shape.vocab
    print(f"\n{name}: {shape}, {problem.num_nodes} nodes, matrix products at {flops_per_sec / 1e9:.0f} GFLOP/s")
    print(f"{'':20}{'ms':>9}{'ratio':>8}{'peak MiB':>10}{'of matmul peak':>16}{'max |nll - fused|':>20}")
    exact = losses["fused"]().detach()
    for key, call in work.items():
        share = products / times[key] / flops_per_sec
        error = float((losses[key]().detach() - exact).abs().max())
        ratio, memory = times[key] / times["fused"], peak_bytes(call) / 2**20
        print(f"{key:20}{times[key] * 1e3:9.1f}{ratio:8.2f}{memory:10.1f}{share:16.0%}{error:20.1e}")
    parts = best_times(lattice_parts(problem, shape), rounds)
    print("alone, ms: " + ", ".join(f"{key} {seconds * 1e3:.1f}" for key, seconds in parts.items()))


def lattice_parts(problem: Problem, shape: Shape) -> dict[str, Callable[[], object]]:
    """The lattice without the joint, and greedy decoding with a predictor that reads the last token only."""
    enc, _, weight, bias = (part.detach() for part in problem.joint)
    _, enc_lens, target_lens = problem.labels
    blank, emit = lattice(*problem.joint, *problem.labels)
    table = torch.randn(shape.vocab, shape.hidden, generator=torch.Generator().manual_seed(1))
    spoken = (torch.tanh(enc + table[0]) @ weight.t() + bias)[..., 1:].amax(-1)
    tilted = bias.clone()
    tilted[0] = spoken.quantile(1 - 0.5 * shape.tokens / shape.frames)  # blanks outnumber tokens, as in speech
    search = partial(
        greedy,
        enc,
        enc_lens,
        joint=lambda seen, said: torch.tanh(seen + said) @ weight.t() + tilted,
        predict=lambda tokens, state: (table[tokens], ()),
    )
    said = sum(len(hypothesis.tokens) for hypothesis in search())
    return {
        "log-probabilities": partial(lattice, *problem.joint, *problem.labels),
        "occupation": partial(occupation, blank, emit, enc_lens, target_lens),
        "viterbi": partial(viterbi, blank, emit, enc_lens, target_lens),
        f"greedy ({said} tokens)": search,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, best of {options.rounds} rounds")
    for name in options.shapes:
        report(name, SHAPES[name], options.rounds)


if __name__ == "__main__":
    main()
