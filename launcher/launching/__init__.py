"""From a request to launch to the address of a viewer. Nothing in here knows of HTTP."""
