"""Formats of dates and times by language, where Django's are not ours."""
