"""The wrapper: spans for the stages of a pipeline, from inside the program that runs them. OpenTelemetry API only.

Read from the bottom up: `isolate`, `text`, `cpu`, `digest` · `extract`, `values`, `live` · `spec` (what a stage was told) · `record` (an open
stage) · `opening` · `wrap` (the kernel) · `stage`, `run`, `outcome`, `configure` (the face, gathered in `headwater`).
"""
