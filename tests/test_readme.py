"""The README's Python runs as it stands, in sizes made small."""

import re
from pathlib import Path

import matplotlib.pyplot as plt

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
#: What is made small: a pattern, and what stands for it.
SMALL = {
    r"hidden=\(\d+,\)": "hidden=(2,), fit_steps=5",
    r"steps=2000": "steps=20",
    r"tm\.Sweep\(": "tm.Sweep(steps=20, ",
    r"range\(\d+\)": "range(2)",
    r"geomspace\((.*?), 12\)": r"geomspace(\1, 2)",
    r"attribute\(base, seeds=8\)": 'attribute(base, {"b1": {"optimiser.b1": 0.0}}, seeds=2)',
    r"likelihoods@50": "likelihoods@5",
    r"decompose\(\)": "decompose(at=2)",
}


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "".join(BLOCKS)
    for pattern, small in SMALL.items():
        code, count = re.subn(pattern, small, code)
        assert count, f"{pattern} is in no example any more"
    exec(compile(code, str(README), "exec"), {})
    plt.close("all")
    assert (tmp_path / "runs" / "first.zarr").exists()
    assert "Necessary: " in capsys.readouterr().out
