"""A Django project in one file: views with WebSockets, which know the session and the user."""

import sys

from django.conf import settings

settings.configure(
    DEBUG=True,
    SECRET_KEY="change me",
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    SYNCWS={"max_size": 1000},  # for all views; see syncws.serve()
)

from django.core.management import execute_from_command_line  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from syncws.integrations.django import websocket  # noqa: E402

PAGE = """<!doctype html><title>Echo</title>
<input id="text" placeholder="say something"><pre id="log"></pre>
<script>
const ws = new WebSocket("echo/you");
ws.onmessage = (event) => { log.textContent += event.data + "\\n"; };
text.onchange = () => { ws.send(text.value); text.value = ""; };
</script>"""


def page(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(PAGE)


@websocket
def echo(request, ws, name):
    ws.send(f"hello, {name}; visits: {request.session.get('visits', 0)}")
    for message in ws:
        ws.send(f"{name}: {message}")


urlpatterns = [path("", page), path("echo/<name>", echo)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
