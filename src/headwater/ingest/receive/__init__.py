"""ingest/receive"""
