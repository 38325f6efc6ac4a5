"""What pages of accounts have to know of the hub."""

from __future__ import annotations

from django import template

from viewerhub import accounts

register = template.Library()

register.simple_tag(accounts.sends_mail)
