"""The trainable parts of a transducer decoder (Graves 2012): prediction network, joint projections, output layer.

The loss, the alignment and the search are functions of these parts (losses/transducer.py, decoding/greedy.py).
"""

import torch
from torch import Tensor, nn

from antiphon.nn.head import Head

State = tuple[Tensor, ...]


class TransducerDecoder(nn.Module):
    """logits(t, u) = out(tanh(encode(x)[t] + predict(tokens)[u])); symbol 0 is blank and also the start symbol."""

    def __init__(
        self, *, vocab_size: int, dim: int, predictor_dim: int, num_layers: int, joint_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, predictor_dim)
        self.lstm = nn.LSTM(predictor_dim, predictor_dim, num_layers, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.from_predictor = nn.Linear(predictor_dim, joint_dim)
        self.from_encoder = nn.Linear(dim, joint_dim, bias=False)
        self.out = Head(joint_dim, vocab_size)

    def encode(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, J), the encoder's side of the joint."""
        out: Tensor = self.from_encoder(x)
        return out

    def predict(self, tokens: Tensor) -> Tensor:
        """tokens (B, U) -> (B, U + 1, J): position u has read the first u tokens."""
        x = self.dropout(self.embedding(torch.nn.functional.pad(tokens, (1, 0))))
        kind = x.device.type  # autocast gives cuDNN's LSTM fp16 even where it is told bf16
        with torch.autocast(kind, enabled=kind != "cuda" and torch.is_autocast_enabled(kind)):
            read, _ = self.lstm(x)
        out: Tensor = self.from_predictor(read)
        return out

    def predict_step(self, token: Tensor, state: State | None) -> tuple[Tensor, State]:
        """token (B,) last symbol (0 at the start), state of batch-first tensors -> (B, J) and the next state."""
        inner = (
            None if state is None else (state[0].transpose(0, 1).contiguous(), state[1].transpose(0, 1).contiguous())
        )
        read, (hidden, cell) = self.lstm(self.embedding(token.unsqueeze(1)), inner)
        return self.from_predictor(read.squeeze(1)), (hidden.transpose(0, 1), cell.transpose(0, 1))

    def joint(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """encoded (B, J), predicted (B, J) -> logits (B, V)."""
        out: Tensor = self.out(torch.tanh(encoded + predicted))
        return out
