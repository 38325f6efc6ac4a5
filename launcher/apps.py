from django.apps import AppConfig
from django.db.models.signals import m2m_changed
from django.utils.translation import gettext_lazy as _


class LauncherConfig(AppConfig):
    name = "launcher"
    verbose_name = _("Imaging")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from archives.restrictions import follow_choice
        from launcher.models import ApiClient

        m2m_changed.connect(follow_choice, sender=ApiClient.archives.through)
