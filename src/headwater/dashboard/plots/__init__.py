"""One plot, one file: a part of a document in, inline SVG out."""
