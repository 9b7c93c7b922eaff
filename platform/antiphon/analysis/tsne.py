"""A flat map of a space: t-SNE (van der Maaten & Hinton 2008) by openTSNE, cosine distances, fixed seed."""

import numpy as np
import numpy.typing as npt


def flatten(vectors: npt.NDArray[np.float32], *, perplexity: float = 30.0, seed: int = 0) -> npt.NDArray[np.float64]:
    """vectors (N, D), N >= 4 -> (N, 2). Equal input gives equal output. Raises ValueError without the library."""
    try:
        import openTSNE
    except ImportError as error:
        raise ValueError("a t-SNE map needs openTSNE, which is not installed; pip install 'antiphon[demo]'") from error
    if len(vectors) < 4:
        raise ValueError(f"a t-SNE map needs at least 4 vectors, but has {len(vectors)}; embed more utterances")
    tsne = openTSNE.TSNE(
        perplexity=min(perplexity, (len(vectors) - 1) / 3),
        metric="cosine",
        neighbors="exact",
        initialization="pca",
        negative_gradient_method="bh",  # no interpolation grid: a few hundred points are quicker by Barnes-Hut
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(tsne.fit(vectors.astype(np.float64)), dtype=np.float64)
