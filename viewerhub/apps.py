from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_out


class ViewerHubConfig(AppConfig):
    name = "viewerhub"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in
        from allauth.socialaccount import signals

        from viewerhub import accounts

        user_logged_in.connect(accounts.keep_tokens_of_login)
        signals.social_account_added.connect(accounts.keep_tokens)
        signals.social_account_removed.connect(accounts.forget_tokens)
        user_logged_out.connect(accounts.end_session)
