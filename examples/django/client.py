"""Visit the page, then open the WebSocket with the same session."""

import http.cookiejar
import sys
import urllib.request

from syncws import connect

host = sys.argv[1] if len(sys.argv) > 1 else "localhost:8765"
cookies = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
browser.open(f"http://{host}/").close()

with connect(f"ws://{host}/echo/ann", cookies=cookies) as ws:
    print(ws.recv())
    ws.send("is there anybody?")
    print(ws.recv())
