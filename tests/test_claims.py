"""What claims of studies are held to, and how they are printed."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toymodel.studies import claims, study


@given(st.floats(-2.0, 2.0), st.floats(0.01, 1.0), st.floats(-2.0, 2.0))
def test_a_claim_needs_its_whole_interval(mean, spread, limit):
    values = mean + spread * np.array([-1.0, 0.0, 1.0])
    half = 4.30265273 * spread / np.sqrt(3)  # Student's t with two degrees of freedom
    assert claims.claim("", "", values, above=limit).reached == (mean - half > limit)
    assert claims.claim("", "", values, below=limit).reached == (mean + half < limit)


def test_claims_fail_without_numbers_and_may_be_information():
    sure = np.array([1.0, 1.1, 0.9])
    assert claims.claim("", "", sure, above=0.5, below=1.5).reached is True
    assert claims.claim("", "", sure).verdict == "information"
    for gap in (np.nan, np.inf):
        made = claims.claim("", "x", np.append(sure, gap), above=0)
        assert made.verdict == "no"
        assert "3 of 4 seeds" in made.what
        assert claims.claim("", "", np.append(sure, gap), above=0, least=0.75).reached
    assert not claims.claim("", "", np.full(3, np.nan), above=-1, least=0.0).reached
    assert claims.least_claim("", "", np.stack([sure, 2 * sure])).reached
    assert not claims.least_claim("", "", np.stack([sure, -sure])).reached
    assert not claims.least_claim("", "", np.stack([sure, [1.0, np.nan, 1.0]])).reached
    assert not claims.least_claim("", "", np.empty((0, 3))).reached
    assert claims.with_interval([1.0, np.nan]) == "-"


def test_claims_are_printed_in_columns_as_wide_as_they_are():
    made = [
        study.Claim("somewhere with a very long name indeed", "rise", 1.0, "> 0", True),
        study.Claim("here", "a quantity with a long description [0.1, 0.2]", -123.0, "-", None),
        study.Claim("here", "fall", 0.5, "< 0", False),
    ]
    results = [study.Reproduced("why_it", made, Path("a.png"), 1.0)]
    lines = study.as_text(results).splitlines()
    words = ("reached", "yes", "information", "NO")
    assert len({line.index(word) for line, word in zip(lines, words, strict=True)}) == 1
    assert study.as_data(results)[0]["claims"][1]["reached"] is None
