"""Log in to the chat by HTTP, then say something by WebSocket."""

import http.cookiejar
import sys
import urllib.parse
import urllib.request

from syncws import InvalidStatus, connect

host = sys.argv[1] if len(sys.argv) > 1 else "localhost:8765"
cookies = http.cookiejar.CookieJar()

try:
    connect(f"ws://{host}/chat", cookies=cookies)
except InvalidStatus as exc:
    print("before the login:", exc.response.status_code)

browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
form = urllib.parse.urlencode({"name": "ann"}).encode()
browser.open(f"http://{host}/login", form).close()

with connect(f"ws://{host}/chat", cookies=cookies) as ws:
    ws.send("hello")
    print(ws.recv())
