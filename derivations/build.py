"""Rebuild the book: every chapter derives, checks and writes its .tex; --check compares with what is committed."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from fishergeo.symbolic.derivation import Derivation
from fishergeo.symbolic.document import document, legend, page

HERE = Path(__file__).resolve().parent
TITLE = "Fisher information of normalized generalized linear models"
REFERENCES = (
    "S. Arora, Z. Li, K. Lyu. Theoretical analysis of auto rate-tuning by batch normalization. ICLR 2019.",
    "J. L. Ba, J. R. Kiros, G. E. Hinton. Layer normalization. 2016, arXiv 1607.06450.",
    "L. Huang et al. Centered weight normalization in accelerating training of deep neural networks. ICCV 2017.",
    "S. Ioffe, C. Szegedy. Batch normalization. ICML 2015, arXiv 1502.03167.",
    "T. van Laarhoven. L2 regularization versus batch and weight normalization. 2017, arXiv 1706.05350.",
    "J. Martens, R. Grosse. Optimizing neural networks with Kronecker-factored approximate curvature. ICML 2015, "
    "arXiv 1503.05671.",
    "P. McCullagh, J. A. Nelder. Generalized linear models. Second edition, 1989.",
    "T. Salimans, D. P. Kingma. Weight normalization. NeurIPS 2016, arXiv 1602.07868.",
    "D. E. Tyler. Statistical analysis for the angular central Gaussian distribution on the sphere. Biometrika 74, 1987.",
    "B. Zhang, R. Sennrich. Root mean square layer normalization. NeurIPS 2019, arXiv 1910.07467.",
)
INTRODUCTION = r"""\begin{abstract}
Every equation in these pages was checked by a program when it was written down, and typeset from the expression
that was checked; an equation that is not an identity stops the build. The number in the box beside an equation
says how certain it is; a definition has none.
\end{abstract}

\begin{center}
%s
\end{center}

\noindent The symbol $I_{ij}$ is 1 where $i = j$ and 0 elsewhere, and $\delta$ a factor that rescales weights or inputs.

\tableofcontents
"""


def chapter_files() -> list[Path]:
    """The chapters, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def load(path: Path) -> Derivation:
    """Derive a chapter."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    spec = importlib.util.spec_from_file_location(f"chapter_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build()


def book() -> str:
    """The LaTeX file that inputs all chapters."""
    inputs = "".join(f"\\clearpage\n\\input{{{path.stem}.tex}}\n" for path in chapter_files())
    references = "\n\n".join(REFERENCES)
    return document(TITLE, f"{INTRODUCTION % legend()}{inputs}\\clearpage\n\\section*{{References}}\n\n{references}\n")


def build(folder: Path) -> list[Derivation]:
    """Derive all chapters and write their .tex, and the book's, into ``folder``."""
    chapters = []
    for path in chapter_files():
        chapters.append(load(path))
        chapters[-1].write(folder / path.name)
    (folder / "book.tex").write_text(book(), encoding="utf-8")
    return chapters


def differences(folder: Path) -> list[str]:
    """The names of the committed .tex files that differ from those in ``folder``."""
    names = {path.name for path in (*HERE.glob("*.tex"), *folder.glob("*.tex"))}

    def text(path: Path) -> str | None:
        return path.read_text(encoding="utf-8") if path.exists() else None

    return sorted(name for name in names if text(HERE / name) != text(folder / name))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a committed file would change"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write all chapters as one HTML page")
    options = parser.parse_args(arguments)
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            chapters = build(Path(folder))
            changed = differences(Path(folder))
        if changed:
            names = ", ".join(changed)
            print(f"these files differ from what the chapters derive: {names}; run python derivations/build.py")
            return 1
    else:
        chapters = build(HERE)
    if options.html:
        from fishergeo.report.mathml import mathml

        options.html.write_text(page(TITLE, chapters, mathml), encoding="utf-8")
    steps = sum(len(chapter.equations()) for chapter in chapters)
    print(f"{len(chapters)} chapters, {steps} equations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
