"""Searching studies over all archives: what is asked, what answers, what is kept."""
