"""Server-rendered pages from documents: no script, inline SVG, one style sheet. `pages` for the service, `standalone` for a report to mail."""
