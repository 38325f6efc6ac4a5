"""Hospitals write 24 hours; "10 p.m." also hides the minutes of a full hour."""

TIME_FORMAT = "H:i"
DATETIME_FORMAT = "N j, Y, H:i"
# Of studies: which of 01/02/2026 is the month depends on the country.
SHORT_DATE_FORMAT = "N j, Y"
