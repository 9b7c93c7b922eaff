"""The map keeps neighbourhoods and repeats itself."""

import numpy as np
import pytest

from antiphon.analysis.tsne import flatten

pytest.importorskip("openTSNE", reason="needs the extra demo")


def test_clusters_stay_together_and_the_seed_fixes_the_map() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 12)) * 5
    vectors = np.concatenate([centre + rng.normal(size=(15, 12)) * 0.2 for centre in centres]).astype(np.float32)
    label = np.repeat(np.arange(3), 15)
    xy = flatten(vectors, perplexity=8)
    distances = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + np.eye(45) * 1e9
    assert (label[distances.argmin(axis=1)] == label).all()
    assert np.array_equal(xy, flatten(vectors, perplexity=8))


def test_too_few_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        flatten(np.ones((3, 2), dtype=np.float32))
