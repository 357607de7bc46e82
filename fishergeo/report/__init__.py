"""The report: everything the package knows about one data set under several normalizers, as HTML, LaTeX, PDF and JSON."""
