"""The optimizers and their schedule, a pure function of the step.

muon: matrices inside the network get orthogonalised momentum (Jordan et al. 2024, Muon), scaled to AdamW's usual step
(Liu et al., arXiv 2502.16982, eq. 4), everything else AdamW (Loshchilov and Hutter, arXiv 1711.05101). It leaves the
plateau in which a transducer or CTC emits only blanks after a fraction of AdamW's steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from antiphon.nn.head import Head


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """What one update does to the weights."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3  # the peak rate, reached at the end of the warm-up
    warmup_steps: int = 500  # the rate rises linearly from lr / warmup_steps
    schedule: Literal["cosine", "linear", "inverse_sqrt", "constant"] = "cosine"  # after the warm-up
    final_share: float = 0.05  # cosine and linear end at final_share * lr
    betas: tuple[float, ...] = (0.9, 0.98)
    momentum: float = 0.95  # muon's
    eps: float = 1e-8
    weight_decay: float = 0.01  # of matrices; biases, gains and other one-dimensional parameters do not decay
    clip_norm: float = 5.0  # the greatest norm of the gradient of the mean loss, over all parameters

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise ValueError(f"optim.betas must be two numbers, but are {self.betas}; give for example [0.9, 0.98]")
        if self.lr <= 0 or self.clip_norm <= 0:
            raise ValueError(f"optim.lr and optim.clip_norm must be positive, but are {self.lr} and {self.clip_norm}")


def learning_rate(config: OptimConfig, step: int, num_steps: int) -> float:
    """The rate of update `step` (0 is the first) of num_steps. inverse_sqrt: Vaswani et al. 2017, equation 3."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse_sqrt":
        return config.lr * math.sqrt(max(1, config.warmup_steps) / (step + 1))
    share = min(1.0, (step - config.warmup_steps) / max(1, num_steps - 1 - config.warmup_steps))
    fall = 1.0 - share if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * share))
    return config.lr * (config.final_share + (1.0 - config.final_share) * fall)


def make_optimizer(config: OptimConfig, model: nn.Module, *, half: bool = False) -> torch.optim.Optimizer:
    """The configured optimizer over the trainable parameters; matrices decay, one-dimensional parameters do not.

    half: orthogonalise in bf16, for a run whose products are bf16 too; a run in fp32 is the same on every machine.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inner = _inner_matrices(model) if config.name == "muon" else set()
    matrices = [p for p in trainable if p.ndim >= 2 and p not in inner]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (config.betas[0], config.betas[1])
    if config.name == "adamw":
        # Fused also on a CPU: a third of the plain loop's time (200 matrices of 144 x 144: 3 ms against 9).
        return torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)
    chosen = [p for p in trainable if p in inner]
    groups.append({"params": chosen, "weight_decay": config.weight_decay, "orthogonal": True})
    return Muon(groups, lr=config.lr, betas=betas, eps=config.eps, momentum=config.momentum, half=half)


class Muon(torch.optim.Optimizer):
    """Muon for groups marked `orthogonal`, AdamW for the others; one optimizer, so that a run has one state."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        momentum: float,
        half: bool,
    ) -> None:
        self._half = half
        # fused: without it load_state_dict leaves the step counts on the CPU, where a GPU's kernel cannot read them.
        adamw_only = {"betas": betas, "eps": eps, "weight_decay": 0.0, "fused": True}
        super().__init__(groups, {"lr": lr, "momentum": momentum, "orthogonal": False, **adamw_only})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            used = [parameter for parameter in group["params"] if parameter.grad is not None]
            (self._orthogonal if group["orthogonal"] else self._adamw)(group, used)

    def _orthogonal(self, group: dict[str, Any], used: list[nn.Parameter]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        # Matrices of one shape go through the iteration as one batch: it is many small products, bound by their number.
        for shape, same in groupby(sorted(used, key=lambda p: tuple(p.shape)), key=lambda p: tuple(p.shape)):
            parameters: list[Tensor] = list(same)
            for parameter in parameters:
                if "momentum" not in self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            buffers = [self.state[parameter]["momentum"] for parameter in parameters]
            gradients = [p.grad for p in parameters if p.grad is not None]
            torch._foreach_lerp_(buffers, gradients, 1.0 - momentum)  # and the update is Nesterov's
            updates = orthogonalize(torch.stack(torch._foreach_lerp(gradients, buffers, momentum)), half=self._half)
            torch._foreach_mul_(parameters, 1.0 - rate * group["weight_decay"])
            scale = 0.2 * math.sqrt(max(shape))
            torch._foreach_add_(parameters, list(updates.unbind()), alpha=-rate * scale)

    def _adamw(self, group: dict[str, Any], used: list[nn.Parameter]) -> None:
        for parameter in used:
            if not self.state[parameter]:
                zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter].update(step=torch.zeros((), device=parameter.device), **zeros)
        states = [self.state[parameter] for parameter in used]
        adamw(
            [*used], [p.grad for p in used if p.grad is not None], [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states], [], [s["step"] for s in states], fused=True, amsgrad=False,
            beta1=group["betas"][0], beta2=group["betas"][1], lr=group["lr"], weight_decay=group["weight_decay"],
            eps=group["eps"], maximize=False,
        )  # fmt: skip


def orthogonalize(x: Tensor, *, half: bool = False) -> Tensor:
    """x (N, A, B) -> near U V^T of each matrix's singular value decomposition: singular values from 0.7 to 1.2.

    Five steps of the quintic Newton-Schulz iteration (Jordan et al. 2024), in bf16 when half.
    """
    tall = x.shape[1] > x.shape[2]
    y = x.transpose(1, 2) if tall else x
    y = y / y.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    y = y.to(torch.bfloat16) if half else y
    for _ in range(5):
        gram = y @ y.transpose(1, 2)
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), y, beta=3.4445)
    return (y.transpose(1, 2) if tall else y).to(x.dtype)


def fast_bf16(device: torch.device) -> bool:
    """Does the device multiply bf16 matrices in hardware? Where it does not, bf16 is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _inner_matrices(model: nn.Module) -> set[nn.Parameter]:
    """Weights of linear and recurrent layers; not `Head`s, embeddings, convolutions, gains or biases."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.RNNBase) and not isinstance(m, Head)]
    return {p for layer in layers for p in layer.parameters(recurse=False) if p.ndim == 2 and p.requires_grad}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip(parameters: Sequence[nn.Parameter], max_norm: float) -> float:
    """Scale the gradients in place to at most max_norm, unless their norm is not finite; returns the norm before."""
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    value = float(norm)
    if math.isfinite(value):
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return value
