from django.apps import AppConfig
from django.db.models.signals import m2m_changed


class LauncherConfig(AppConfig):
    name = "launcher"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from archives.restrictions import follow_choice
        from launcher.models import ApiClient

        m2m_changed.connect(follow_choice, sender=ApiClient.archives.through)
