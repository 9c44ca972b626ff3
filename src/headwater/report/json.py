"""Typed results → the documents of the machine-readable surface. Every other surface renders these."""

from headwater.report.errors_json import errors_document
from headwater.report.latency_json import latency_document
from headwater.report.numbers import Document
from headwater.report.overview_json import alerts_document, overview_document
from headwater.report.simple_json import doctor_document, error_document, graph_document, health_document, pipelines_document
from headwater.report.trace_json import trace_document, traces_document

__all__ = [
    "Document",
    "alerts_document",
    "doctor_document",
    "error_document",
    "errors_document",
    "graph_document",
    "health_document",
    "latency_document",
    "overview_document",
    "pipelines_document",
    "trace_document",
    "traces_document",
]
