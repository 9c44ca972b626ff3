"""Pure renderers: typed results to documents (`json`), documents to terminal tables (`text`), one sentence (`sentence`) and CSV (`csv`)."""
