"""What stands before and after the chapters: the abstract, the levels of certainty, the symbols, the references."""

from __future__ import annotations

import html as markup
import re

from symbols import MEANINGS

from fishergeo.symbolic.document import legend

TITLE = "Fisher information of normalized generalized linear models"
ABSTRACT = """Every numbered equation in these pages was checked by a program when it was written down, and typeset from
the expression that was checked; an equation that is not an identity stops the build. The number in the box beside an
equation says how certain it is. A definition has none; where it ends in > 0, what follows assumes that. The words
between equations, and what is concluded in them, are not checked."""
REFERENCES = (
    "S. Amari. Natural gradient works efficiently in learning. Neural Computation 10, 1998.",
    "S. Arora, Z. Li, K. Lyu. Theoretical analysis of auto rate-tuning by batch normalization. ICLR 2019.",
    "J. L. Ba, J. R. Kiros, G. E. Hinton. Layer normalization. 2016, arXiv 1607.06450.",
    "T. Cooijmans et al. Recurrent batch normalization. ICLR 2017, arXiv 1603.09025.",
    "E. Hoffer, I. Hubara, D. Soudry. Train longer, generalize better: closing the generalization gap in large batch "
    "training of neural networks. NeurIPS 2017, arXiv 1705.08741.",
    "L. Huang et al. Centered weight normalization in accelerating training of deep neural networks. ICCV 2017.",
    "S. Ioffe, C. Szegedy. Batch normalization: accelerating deep network training by reducing internal covariate shift. "
    "ICML 2015, arXiv 1502.03167.",
    "A. Kosson, B. Messmer, M. Jaggi. Rotational equilibrium: how weight decay balances learning across neural networks. "
    "2023, arXiv 2305.17212.",
    "T. van Laarhoven. L2 regularization versus batch and weight normalization. 2017, arXiv 1706.05350.",
    "Y. LeCun et al. Efficient BackProp. In Neural networks: tricks of the trade, 1998.",
    "Z. Li, S. Arora. An exponential learning rate schedule for deep learning. ICLR 2020, arXiv 1910.07454.",
    "J. Martens, R. Grosse. Optimizing neural networks with Kronecker-factored approximate curvature. ICML 2015, "
    "arXiv 1503.05671.",
    "P. McCullagh, J. A. Nelder. Generalized linear models. Second edition, 1989.",
    "T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida. Spectral normalization for generative adversarial networks. "
    "ICLR 2018, arXiv 1802.05957.",
    "S. Qiao et al. Micro-batch training with batch-channel normalization and weight standardization. 2019, "
    "arXiv 1903.10520.",
    "T. Salimans, D. P. Kingma. Weight normalization. NeurIPS 2016, arXiv 1602.07868.",
    "L. N. Trefethen, J. A. C. Weideman. The exponentially convergent trapezoidal rule. SIAM Review 56, 2014.",
    "D. E. Tyler. Statistical analysis for the angular central Gaussian distribution on the sphere. Biometrika 74, 1987.",
    "D. Ulyanov, A. Vedaldi, V. Lempitsky. Instance normalization: the missing ingredient for fast stylization. 2016, "
    "arXiv 1607.08022.",
    "R. Wan et al. Spherical motion dynamics: learning dynamics of neural network with normalization, weight decay, and "
    "SGD. 2021, arXiv 2006.08419.",
    "Y. Wu, K. He. Group normalization. ECCV 2018, arXiv 1803.08494.",
    "B. Zhang, R. Sennrich. Root mean square layer normalization. NeurIPS 2019, arXiv 1910.07467.",
)
CONTENTS = r"""\makeatletter\renewcommand*\l@section{\@dottedtocline{1}{0em}{2em}}\makeatother
{\parskip=0pt\tableofcontents}"""
_ROWS = 48  # of a table of symbols on one page


def latex() -> str:
    """Abstract, levels, contents and symbols."""
    rows = [rf"${tex}$ & {meaning} \\" for tex, meaning in MEANINGS.items()]
    head, tail = r"\begin{tabular}{lp{130mm}}", r"\end{tabular}"
    tables = ["\n".join([head, *rows[k : k + _ROWS], tail]) for k in range(0, len(rows), _ROWS)]
    symbols = "\n\n".join(f"\\begin{{center}}\\small\n{table}\n\\end{{center}}" for table in tables)
    return (
        f"\\begin{{abstract}}\n{ABSTRACT.replace('> 0', '$> 0$')}\n\\end{{abstract}}\n\n"
        f"\\begin{{center}}\n{legend()}\n\\end{{center}}\n\n{CONTENTS}\n\\clearpage\n"
        f"\\section*{{Symbols}}\n\n{symbols}\n"
    )


def references_latex() -> str:
    body = "\n\n".join(REFERENCES)
    return f"\\clearpage\n\\section*{{References}}\n\n{body}\n"


def html() -> tuple[str, str, str]:
    """Abstract, table of symbols and references."""
    from fishergeo.report.mathml import mathml

    def prose(text: str) -> str:
        parts = re.split(r"\$([^$]*)\$", text)
        return "".join(mathml(part) if k % 2 else markup.escape(part) for k, part in enumerate(parts))

    rows = "".join(f"<tr><td>{mathml(tex)}</td><td>{prose(meaning)}</td></tr>" for tex, meaning in MEANINGS.items())
    references = "".join(f"<li>{markup.escape(entry)}</li>" for entry in REFERENCES)
    return f"<p>{markup.escape(ABSTRACT)}</p>", f'<table class="symbols">{rows}</table>', f"<ul>{references}</ul>"
