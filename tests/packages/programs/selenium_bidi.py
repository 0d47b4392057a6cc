"""selenium's BiDi, with Chromium."""

import json
import os
import shutil
import tempfile
import threading

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SOON = 20
seen = []
os.environ["no_proxy"] = "*"
options = webdriver.ChromeOptions()
options.binary_location = shutil.which("chromium")
options.enable_bidi = True
profile = tempfile.mkdtemp(prefix="syncws-chromium-")
for flag in (
    *["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    *["--disable-component-update", "--no-first-run", "--no-proxy-server"],
    f"--user-data-dir={profile}",
):
    options.add_argument(flag)

driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
try:
    came = threading.Event()
    texts = []

    def told(entry):
        texts.append(entry.text)
        if entry.text == "last":
            came.set()

    driver.script.add_console_message_handler(told)
    page = "data:text/html,<script>for (let n = 0; n < 50; n++) console.log('n' + n)</script>"
    driver.get(page)
    driver.execute_script("console.log('x'.repeat(300000)); console.log('last')")
    seen.append(["events", came.wait(SOON), [text[:5] for text in texts], len(texts[-2])])
    context = driver.current_window_handle
    found = driver.script._evaluate("1 + 1", {"context": context}, False)
    seen.append(["evaluated", found.result["value"]])
    found = driver.script._evaluate("'y'.repeat(400000)", {"context": context}, False)
    seen.append(["large", len(found.result["value"])])
    seen.append(["tree", len(driver.browsing_context.get_tree())])
    try:
        driver.browsing_context.close("no such context")
    except Exception as exc:
        seen.append(["error", type(exc).__name__])
finally:
    driver.quit()
shutil.rmtree(profile, ignore_errors=True)
seen.append(["threads", sorted(t.name for t in threading.enumerate() if not t.daemon)])
print(json.dumps(seen, indent=0))
