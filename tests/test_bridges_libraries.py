"""The libraries of the bridges are optional: nothing loads them before they are needed, and one missing is one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fishergeo as fg

BRIDGES = {
    "statsmodels": ("statsmodels.genmod.generalized_linear_model", lambda: fg.from_statsmodels(None), "statsmodels"),
    "sklearn": ("sklearn.pipeline", lambda: fg.from_sklearn(None, [[1.0]]), "scikit-learn"),
    "torch": ("torch", lambda: fg.from_torch(None, family=fg.bernoulli), "torch"),
}


@pytest.mark.parametrize("name", BRIDGES)
def test_a_missing_library_is_named_with_the_way_to_install_it(name, monkeypatch):
    module, call, package = BRIDGES[name]
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises ModuleNotFoundError
    with pytest.raises(fg.InputError, match=f"from_{name} needs {package}.*pip install {package}$"):
        call()


def test_the_bridges_themselves_load_no_library():
    code = (
        "import fishergeo as fg, sys; fg.from_statsmodels, fg.from_sklearn, fg.from_torch;"
        "print([name for name in ('statsmodels', 'sklearn', 'torch', 'pandas') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
