"""InfoNCE against its definition, and what groups do."""

import pytest
import torch

from antiphon.losses.contrastive import info_nce


def pairs(rows=5, dim=6):
    torch.manual_seed(0)
    return torch.randn(rows, dim, requires_grad=True), torch.randn(rows, dim, requires_grad=True)


def test_it_is_the_mean_of_two_cross_entropies_of_cosines():
    a, b = pairs()
    cosine = torch.stack([torch.stack([torch.cosine_similarity(x, y, dim=0) for y in b]) for x in a]) / 0.1
    right = torch.arange(len(a))
    forth = torch.nn.functional.cross_entropy(cosine, right, reduction="none")
    back = torch.nn.functional.cross_entropy(cosine.t(), right, reduction="none")
    torch.testing.assert_close(info_nce(a, b, temperature=0.1), (forth + back) / 2)


def test_the_same_sentence_twice_is_no_negative():
    a, b = pairs()
    groups = torch.tensor([0, 1, 0, 2, 3])
    with_groups = info_nce(a, b, temperature=0.1, groups=groups)
    keep = torch.tensor([0, 1, 3, 4])  # for row 0 its twin does not exist
    torch.testing.assert_close(with_groups[0], info_nce(a[keep], b[keep], temperature=0.1)[0])
    everything_differs = info_nce(a, b, temperature=0.1, groups=torch.arange(5))
    torch.testing.assert_close(everything_differs, info_nce(a, b, temperature=0.1))
    assert (with_groups[[0, 2]] < everything_differs[[0, 2]]).all()


def test_one_sentence_only_teaches_nothing():
    a, b = pairs()
    values = info_nce(a, b, temperature=0.1, groups=torch.zeros(5))
    (grad,) = torch.autograd.grad(values.sum(), a)
    torch.testing.assert_close(values, torch.zeros(5))
    torch.testing.assert_close(grad, torch.zeros_like(a))


def test_alike_pairs_cost_nothing_and_scale_does_not_count():
    a, _ = pairs()
    assert info_nce(a, 7 * a, temperature=0.01).max() < 1e-4
    torch.testing.assert_close(info_nce(3 * a, a.flip(0), temperature=0.5), info_nce(a, 2 * a.flip(0), temperature=0.5))


def test_bf16_under_autocast_is_computed_in_fp32():
    a, b = (side.detach().bfloat16() for side in pairs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = info_nce(a, b, temperature=0.07)
    assert torch.equal(got, info_nce(a.float(), b.float(), temperature=0.07))


def test_temperature_must_be_positive():
    with pytest.raises(ValueError, match="temperature must be above 0, but is 0"):
        info_nce(*pairs(), temperature=0)
