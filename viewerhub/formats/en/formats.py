"""Hospitals write 24 hours; "10 p.m." also hides the minutes of a full hour."""

TIME_FORMAT = "H:i"
DATETIME_FORMAT = "N j, Y, H:i"
