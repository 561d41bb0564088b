"""The study of overlap, small: what it computes, claims and draws; its readings by hand."""

import jax
import numpy as np
import pytest
import xarray as xr

from toymodel.sequences import TokenKind, kinds
from toymodel.why import overlap
from toymodel.why.overlap_runs import SPACE, STEPS, worlds


@pytest.fixture(scope="module")
def found():
    return overlap.compute(2)


@pytest.mark.slow
def test_arms_with_the_same_pairs_are_the_same(found):
    """No token in common is one arm, whatever the place; nothing depends on later tokens there."""
    none = found.isel(common=0)
    xr.testing.assert_equal(
        none.sel(place="prefix", drop=True)["chosen"], none.sel(place="later", drop=True)["chosen"]
    )


@pytest.mark.slow
def test_masses_are_distributions(found):
    for half in ("chosen", "rejected"):
        total = found[f"distance_{half}"].sum("distance")
        np.testing.assert_allclose(total, 1.0, atol=1e-6)
        itself = found[f"distance_{half}"].isel(distance=0)
        ends = found[half].sum("kind") if half == "chosen" else found[half]
        at_ends = np.exp(ends.sel(step=[0, STEPS])).transpose(*itself.dims[:-2], "step", "pair")
        np.testing.assert_allclose(itself.values, at_ends.values, atol=1e-6)


@pytest.mark.slow
def test_without_shared_weights_no_chosen_falls_and_prefixes_stand_still(found):
    tabular = found.sel(policy="prefix_tabular")
    assert float(overlap.displacement(tabular).min()) > 0
    prefix = tabular["chosen"].sel(kind=TokenKind.SHARED_PREFIX.title)
    assert float(np.abs(prefix - prefix.isel(step=0)).max()) < 1e-9


@pytest.mark.slow
def test_claims_say_what_they_were_tested_against(found):
    claims = overlap.compare(found)
    assert [claim.reached for claim in claims[:2]] == [True, True]
    for claim in claims[2:]:
        low, high = (float(end) for end in claim.what.split("[")[1].rstrip("]").split(", "))
        assert low - 0.01 * abs(low) <= claim.ours <= high + 0.01 * abs(high)
        if claim.paper == "< 0":
            assert claim.reached == (high < 0)
    assert "| prefix_tabular | adam | prefix | 0 |" in overlap.table(found)
    assert len(overlap.draw(found).axes) == 6


def test_tokens_in_common_wherever_they_stand():
    def response(*wanted):
        return int(np.flatnonzero((SPACE.tokens == wanted).all(axis=1))[0])

    one, other = response(0, 0, 1, 2), response(3, 1, 0, 0)
    assert overlap.tokens_in_common([one, one], [other, one]).tolist() == [3, 4]
    assert overlap.tokens_in_common(response(0, 0, 0, 0), response(1, 2, 3, 1)) == 0


def test_slopes_and_margins_by_hand():
    line = xr.DataArray([[1.0, 3.0, 5.0]], dims=("seed", "common"), coords={"common": [0, 1, 2]})
    assert float(overlap.slope(line).item()) == pytest.approx(2.0)
    chosen = xr.DataArray([[[-1.0]], [[-3.0]], [[-2.0]]], dims=("step", "pair", "kind"))
    rejected = xr.DataArray([[-1.0], [-11.0], [-30.0]], dims=("step", "pair"))
    run = xr.Dataset({"chosen": chosen, "rejected": rejected})
    assert float(overlap.at_margin(run, 8.0).item()) == -2.0
    assert float(overlap.at_margin(run, 20.0).item()) == -1.0
    assert np.isnan(overlap.at_margin(run, 40.0).item())
    line[0, 1] = np.nan
    assert np.isnan(overlap.slope(line).item()), "a slope without one of its points is none"


def test_worlds_are_stacked_by_seed():
    many = worlds(3, 2, 1, 1)
    assert many.log_table.shape == (3, 2, SPACE.size)
    assert kinds(SPACE, jax.tree.map(lambda leaf: leaf[2], many.pairs)).shape == (2, 4)
