"""Output layers over a vocabulary, told apart by their type."""

from torch import nn


class Head(nn.Linear):
    """A linear layer to the logits of a vocabulary. Its rows are symbols, many of them rare, as those of an embedding.

    So an optimizer that treats inner matrices as wholes (train/optim.py, Muon) leaves it to AdamW.
    """
