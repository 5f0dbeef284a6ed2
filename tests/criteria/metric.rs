//! Scores of every metric (`tests/fixtures/make_metric.py`).
