"""Measures of distributions and smooth functions, against SciPy and against known values."""

import numpy as np
import pytest
from softmargin import measures, smooth

special = pytest.importorskip("scipy.special")


def distributions(rng, *shape):
    return rng.dirichlet(np.full(shape[-1], 0.5), shape[:-1])


def test_measures_agree_with_scipy(rng):
    p, q = distributions(rng, 2, 3, 7), distributions(rng, 3, 7)
    entropy = special.entr(p).sum(-1)
    np.testing.assert_allclose(measures.entropy(p), entropy, rtol=1e-13)
    np.testing.assert_allclose(measures.kl_divergence(p, q), special.rel_entr(p, q).sum(-1), rtol=1e-11)
    np.testing.assert_allclose(measures.cross_entropy(p, q), entropy + special.rel_entr(p, q).sum(-1), rtol=1e-11)
    np.testing.assert_allclose(measures.entropy(p, unit="bits"), entropy / np.log(2), rtol=1e-13)
    np.testing.assert_allclose(measures.self_information(p), -np.log(p), rtol=1e-13)


def test_special_cases_of_measures():
    assert measures.entropy([1.0, 0.0]) == 0.0
    assert measures.cross_entropy([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert measures.kl_divergence([1.0, 0.0], [1.0, 0.0]) == 0.0
    assert measures.self_information(0.0) == np.inf
    unaligned = np.frombuffer(b"\0" + np.array([0.5, 0.5]).tobytes(), dtype=np.float64, offset=1)
    assert measures.entropy(unaligned) == pytest.approx(np.log(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [1.0, 0.1, 7.0])
def test_smooth_functions_agree_with_scipy(dtype, temperature, rng):
    scores = rng.normal(size=(2, 3, 9)).astype(dtype) * 20
    wide = scores.astype(np.float64) / temperature
    tolerance = 4 * np.finfo(dtype).eps if dtype == np.float32 else 1e-14

    def agree(found, wanted):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=1e-14)

    agree(smooth.softmax(scores, temperature), special.softmax(wide, -1))
    agree(smooth.log_softmax(scores, temperature), special.log_softmax(wide, -1))
    agree(smooth.log_sum_exp(scores, temperature), temperature * special.logsumexp(wide, -1))
    agree(smooth.softplus(scores), np.logaddexp(0, scores.astype(np.float64)))
    assert smooth.softmax(scores).dtype == dtype and smooth.softplus(scores).dtype == dtype


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (ValueError, lambda: measures.entropy([0.5, 0.6])),
        (ValueError, lambda: measures.entropy(1.0)),
        (ValueError, lambda: measures.cross_entropy(0.5, [0.5, 0.5])),
        (ValueError, lambda: measures.cross_entropy([0.5, 0.5], [1.0])),
        (ValueError, lambda: measures.kl_divergence(np.full((2, 2), 0.5), np.full((3, 2), 0.5))),
        (ValueError, lambda: measures.self_information(1.5)),
        (ValueError, lambda: measures.entropy([1.0], unit="hartleys")),
        (TypeError, lambda: measures.entropy(["a"])),
        (ValueError, lambda: smooth.softmax([np.nan, 1.0])),
        (ValueError, lambda: smooth.softmax([1.0], temperature=0.0)),
        (ValueError, lambda: smooth.softmax(1.0)),
        (TypeError, lambda: smooth.softmax(np.array([1, 2]))),
        (TypeError, lambda: smooth.softplus(np.array([1], np.float16))),
    ],
)
def test_errors(kind, call):
    with pytest.raises(kind):
        call()
