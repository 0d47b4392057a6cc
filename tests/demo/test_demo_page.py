"""The demo's page in a browser: what two people see, on a desktop and on a phone."""

import re

import pytest
from support.browser import By, Keys, needs_chromium, wait_until
from support.demo_page import PHONE, chromium, open_page
from support.shell import interrupt, program
from support.supervised import PATIENCE

from syncws.demo import make_server

__all__ = ["chromium", "open_page"]

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture
def server():
    with make_server("localhost", 0) as server:
        yield server


def test_two_windows_chat_and_see_each_other(open_page):
    ada, grace = open_page(), open_page()
    grace.rename("Grace")
    ada.look().rename("Ada")
    ada.wait_for("#members li", "Ada (you)", "Grace")
    ada.wait_for("#rooms a", "lobby\n2")
    ada.say("<b>not bold</b> & <script>alert(1)</script> €")
    grace.look().wait_for("#members li", "Ada", "Grace (you)")
    grace.wait_for("#log .words", "<b>not bold</b> & <script>alert(1)</script> €")
    assert grace.browser.find_elements(By.CSS_SELECTOR, "#log b, #log script") == []
    grace.say("two\nlines".replace("\n", Keys.SHIFT + Keys.ENTER + Keys.SHIFT))
    ada.look().wait_for(
        "#log .words", "<b>not bold</b> & <script>alert(1)</script> €", "two\nlines"
    )
    assert ada.texts("#log .waiting") == []


def test_room_comes_from_the_link_and_links_change_it(open_page):
    page, other = open_page("#The%20garden"), open_page("#attic")
    page.look().wait_for("#title", "The garden")
    page.wait_for("#rooms a", "attic\n1", "The garden\n1")
    page.find("#rooms a").click()
    page.wait_for("#title", "attic")
    page.wait_for("#rooms a", "attic\n2")
    assert page.find("#window").get_attribute("href").endswith("#attic")
    page.find("#room").send_keys("cellar", Keys.ENTER)
    page.wait_for("#title", "cellar")
    other.look().wait_for("#rooms a", "attic\n1", "cellar\n1")


def test_what_is_typed_while_a_room_is_entered_is_said_there(open_page):
    page = open_page("#attic")
    page.browser.execute_script(
        """
        history.replaceState(null, "", "#cellar");
        dispatchEvent(new HashChangeEvent("hashchange"));
        document.getElementById("text").value = "early";
        document.getElementById("say").requestSubmit();
        """
    )
    page.wait_for("#title", "cellar")
    page.wait_for("#log .said:not(.waiting) .words", "early")
    assert page.find("#text").get_attribute("value") == ""


def test_what_was_meant_for_another_room_is_given_back(open_page):
    page = open_page("#attic")
    page.find("#close").click()
    page.say("for the attic")
    page.find("#text").send_keys("half")
    page.browser.execute_script("location.hash = 'cellar'")
    page.find("#retry").click()
    page.wait_for("#title", "cellar")
    assert page.texts("#log .words") == []
    assert page.find("#text").get_attribute("value") == "half\nfor the attic"


def test_name_is_remembered_and_made_unique(open_page):
    open_page().rename("Ada")
    second = open_page()
    assert second.find("#name").get_attribute("value") == "Ada"
    second.wait_for("#named", "You are Ada 2 here.")
    second.wait_for("#members li", "Ada", "Ada 2 (you)")


def test_frames_show_what_was_sent_with_its_mask_and_the_answer_without(open_page):
    page = open_page()
    page.say("hello")
    page.wait_for("#log .words", "hello")

    def row(sender):
        rows = page.browser.find_elements(By.CSS_SELECTOR, f'#frames [data-from="{sender}"]')
        return next((each for each in rows if '"text":"hello"' in each.text), None)

    sent = wait_until(page.browser, lambda: row("browser"))
    assert "→" in sent.text
    assert "TEXT" in sent.text
    sent.find_element(By.TAG_NAME, "button").click()
    detail = sent.find_element(By.CLASS_NAME, "detail").text
    assert "FIN: final frame" in detail
    assert "opcode 1: text" in detail
    assert "MASK: as browsers must" in detail
    lines = {
        each.find_element(By.TAG_NAME, "th").text: [
            int(cell.text, 16) for cell in each.find_elements(By.TAG_NAME, "td")
        ]
        for each in sent.find_elements(By.TAG_NAME, "tr")[:3]
    }
    assert bytes(lines["payload"]).decode() == '{"type":"say","text":"hello"'[:16]
    assert [a ^ b for a, b in zip(lines["on the wire"], lines["XOR the key"])] == lines["payload"]
    said = wait_until(page.browser, lambda: row("server"))
    said.find_element(By.TAG_NAME, "button").click()
    detail = said.find_element(By.CLASS_NAME, "detail").text
    assert "MASK: servers don't" in detail
    assert "masking key" not in detail


def test_opening_handshake_ping_and_pong_are_among_the_frames(open_page):
    page = open_page()
    page.find("#ping").click()
    wait_until(page.browser, lambda: "ms" in page.texts("#latency")[0])
    wait_until(page.browser, lambda: page.texts('#frames [data-kind="PONG"]'))
    request, response = page.texts('#frames [data-kind="http"]')
    assert "GET /chat" in request
    assert "101" in response
    for kind in ("http", "PING", "PONG"):
        page.find(f'#frames [data-kind="{kind}"] button').click()
    [ping, pong] = page.texts("#frames .open:not([data-kind='http']) .detail")
    assert "must answer with a pong" in ping
    assert "It answers a ping that was sent" in pong
    assert "Sec-WebSocket-Key" in page.texts("#frames [data-kind='http'] .detail")[0]
    page.find("#clear").click()
    assert page.texts("#frames li") == []


def test_closing_handshake_is_shown_and_the_page_stays_closed_until_told(open_page):
    page = open_page()
    page.find("#close").click()
    page.wait_for_state("Disconnected")
    wait_until(page.browser, lambda: len(page.texts('#frames [data-kind="CLOSE"]')) == 2)
    page.find('#frames [data-kind="CLOSE"] button').click()
    assert "Close code 1000 (normal closure)" in page.texts("#frames .detail")[0]
    page.say("later")
    page.wait_for("#log .waiting .words", "later")
    page.find("#retry").click()
    page.wait_for_state("Online")
    page.wait_for("#log .said:not(.waiting) .words", "later")
    page.wait_for("#frames .note", "A new connection:")


def test_messages_are_compressed_if_one_says_so(open_page):
    page = open_page()
    page.find("#compress").click()
    wait_until(page.browser, lambda: "compress=1" in "".join(page.texts("#frames li")))
    page.wait_for_state("Online")
    page.say("ab" * 100)
    page.wait_for("#log .words", "ab" * 100)
    rows = page.browser.find_elements(By.CSS_SELECTOR, '#frames [data-from="browser"] button')
    rows[-1].click()
    detail = page.texts("#frames .detail")[-1]
    assert "RSV1: compressed" in detail
    assert "ab" * 100 in detail


def test_page_comes_back_when_the_server_does(open_page, server):
    page = open_page("#garden")
    page.rename("Ada")
    page.say("before")
    page.wait_for("#log .words", "before")
    page.find("#text").send_keys("half a mess")
    server.close(timeout=0)
    wait_until(page.browser, lambda: page.texts("#state") != ["Online"])
    page.find("#text").send_keys("age", Keys.ENTER)  # nobody can be told yet
    page.find("#text").send_keys("not sent")
    page.wait_for("#log .waiting .words", "half a message")
    with make_server("localhost", server.port) as again:
        # It may be trying already, or there: then there is no such button.
        page.browser.execute_script(
            "const retry = document.getElementById('retry'); if (!retry.hidden) retry.click()"
        )
        page.wait_for_state("Online")
        wait_until(page.browser, lambda: page.texts("#log .waiting") == [])
        page.wait_for("#log .words", "before", "half a message")
        page.wait_for("#title", "garden")
        page.wait_for("#members li", "Ada (you)")
        assert page.find("#text").get_attribute("value") == "not sent"
        # Once more, by itself, and without anybody saying goodbye.
        for connection in again.connections:
            connection.abort()
        wait_until(page.browser, lambda: page.texts("#state") != ["Online"])
        page.wait_for_state("Online")
        page.say("")
        page.wait_for("#log .words", "before", "half a message", "not sent")


def test_ctrl_c_ends_the_demo_though_pages_are_open(open_page):
    with program("demo", "--port", "0") as process:
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
        page = open_page(port=port)
        assert interrupt(process) == (0, "")
        page.wait_for_state("Reconnecting…")


def test_phone_shows_one_view_at_a_time_and_nothing_is_too_wide(open_page):
    page = open_page(size=PHONE)
    page.say("x" * 300)
    page.wait_for("#log .words", "x" * 300)
    for view, shown in (("people", "#people"), ("wire", "#wire"), ("chat", "#chat")):
        page.find(f'#views [data-view="{view}"]').click()
        assert [
            each for each in ("#people", "#chat", "#wire") if page.find(each).is_displayed()
        ] == [shown]
        assert not page.is_too_wide()
    page.find('#views [data-view="wire"]').click()
    page.find('#frames [data-kind="TEXT"] button').click()
    assert not page.is_too_wide()
    small = page.browser.execute_script(
        "return [...document.querySelectorAll('button, input:not([type=checkbox]), textarea')]"
        ".filter((e) => e.offsetHeight && e.offsetHeight < 44).map((e) => e.outerHTML)"
    )
    assert small == []


def test_desktop_shows_everything_side_by_side(open_page):
    page = open_page()
    assert all(page.find(each).is_displayed() for each in ("#people", "#chat", "#wire"))
    assert not page.find("#views").is_displayed()
    assert not page.is_too_wide()


def test_everything_has_a_name_and_can_be_reached_by_keys(open_page):
    page = open_page()
    nameless = page.browser.execute_script(
        "return [...document.querySelectorAll('button, input, textarea, select, a[href]')]"
        ".filter((e) => !(e.innerText?.trim() || e.getAttribute('aria-label') || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    body = page.find("body")
    body.click()
    for _ in range(40):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        if "frame" in page.browser.switch_to.active_element.get_attribute("class"):
            break
    active = page.browser.switch_to.active_element
    active.send_keys(Keys.ENTER)
    assert active.get_attribute("aria-expanded") == "true"
    outline = page.browser.execute_script(
        "return getComputedStyle(arguments[0]).outlineStyle", active
    )
    assert outline == "solid"


# --- without WebSocket -----------------------------------------------------------


def forbid_websocket(page, transport):
    """Choose what carries the messages, by the keyboard."""
    names = ("websocket", "streaming", "polling")
    choice = page.find("#transport")
    steps = names.index(transport) - names.index(choice.get_attribute("value"))
    choice.send_keys(*[Keys.DOWN if steps > 0 else Keys.UP] * abs(steps))
    assert choice.get_attribute("value") == transport


def exchanged(page, kind, words):
    """The button of the first row of a kind that has these words; waits for it."""

    def find():
        rows = page.browser.find_elements(By.CSS_SELECTOR, f'#frames [data-kind="{kind}"] .frame')
        return next((row for row in rows if words in row.text), None)

    return wait_until(page.browser, find)


def details(button):
    """What a row says once it is chosen."""
    button.click()
    return button.find_element(By.XPATH, "../*[contains(@class, 'detail')]")


def transports(server, room="lobby"):
    """What carries the messages of those in a room."""
    return sorted(ws.transport for ws in server.group(f"room {room}").connections)


@pytest.mark.parametrize("transport", ["streaming", "polling"])
def test_windows_chat_though_one_forbids_websocket(open_page, server, transport):
    ada, grace = open_page(), open_page()
    ada.look().rename("Ada")
    grace.look().rename("Grace")
    forbid_websocket(grace, transport)
    wait_until(grace.browser, lambda: transports(server) == sorted([transport, "websocket"]))
    grace.wait_for_state("Online")
    wait_until(grace.browser, lambda: "Grace (you)" in grace.texts("#members li"))
    grace.say("by plain HTTP €")
    ada.look().wait_for("#log .words", "by plain HTTP €")
    ada.say("by WebSocket €")
    grace.look().wait_for("#log .words", "by plain HTTP €", "by WebSocket €")
    grace.find("#ping").click()
    wait_until(grace.browser, lambda: "ms" in grace.texts("#latency")[0])
    forbid_websocket(grace, "websocket")
    wait_until(grace.browser, lambda: transports(server) == ["websocket", "websocket"])
    grace.wait_for_state("Online")
    grace.say("by WebSocket again")
    ada.look().wait_for("#log .words", "by plain HTTP €", "by WebSocket €", "by WebSocket again")
    ada.wait_for("#members li", "Ada (you)", "Grace")


def test_http_exchange_is_shown_in_place_of_frames(open_page, server):
    page = open_page()
    page.find("#clear").click()
    forbid_websocket(page, "polling")
    opening = details(exchanged(page, "request", "opens a session")).text
    assert "POST /chat" in opening
    assert "Syncws-Session: new" in opening
    answer = details(exchanged(page, "response", "the session is open")).text
    assert "200 OK" in answer
    assert '"session_timeout": 30' in answer
    page.wait_for_state("Online")
    page.say("hello")
    page.wait_for("#log .words", "hello")
    sent = details(exchanged(page, "request", '"text":"hello"'))
    assert "POST /chat" in sent.text
    for header in ("Syncws-Session", "Syncws-Position", "Syncws-Ack"):
        assert re.search(rf"^{header}: .+$", sent.text, re.MULTILINE)
    assert "opcode 1: text" in sent.text
    assert "masking key: zeros" in sent.text
    assert "Sent by this page at" in sent.text
    said = details(exchanged(page, "response", '"text":"hello"'))
    assert "200 OK" in said.text
    position = int(re.search(r"^Syncws-Position: (\d+)$", said.text, re.MULTILINE)[1])
    assert f"from position {position} of the server's stream" in said.text
    assert "TEXT" in said.text
    details(exchanged(page, "request", "s for more"))
    details(exchanged(page, "response", "has "))
    # The session's id is as good as a password.
    secrets = {*server._handling.fallback._sessions._sessions}
    shown = page.find("#wire").text
    assert not any(secret in shown for secret in secrets)
    assert "…" in sent.text
    # Nothing watches by WebSocket what forbids it.
    assert [ws for ws in server.connections if ws.request.path == "/wire"] == []


def test_events_of_a_stream_are_shown_and_its_end(open_page):
    page = open_page()
    forbid_websocket(page, "streaming")
    assert "text/event-stream" in details(exchanged(page, "response", "a stream begins")).text
    assert "begins at 0" in exchanged(page, "event", "begins at 0").text
    page.wait_for_state("Online")
    page.say("hello")
    event = details(exchanged(page, "event", '"text":"hello"'))
    assert re.search(r"^id: \d+$", event.text, re.MULTILINE)
    assert re.search(r"^data: \S+$", event.text, re.MULTILINE)
    assert "opcode 1: text" in event.text
    page.find("#close").click()
    page.wait_for_state("Disconnected")
    sent = details(exchanged(page, "request", "CLOSE 1000 (normal closure)"))
    assert "Close code 1000 (normal closure)" in sent.text
    exchanged(page, "event", "CLOSE 1000 (normal closure)")
    exchanged(page, "event", "ends at")
    page.find("#retry").click()
    page.wait_for_state("Online")
    page.wait_for("#frames .note", "A new connection:", "A new connection:")


def test_page_without_websocket_comes_back_when_the_server_does(open_page, server):
    page = open_page("#garden")
    page.rename("Ada")
    forbid_websocket(page, "polling")
    wait_until(page.browser, lambda: transports(server, "garden") == ["polling"])
    page.wait_for_state("Online")
    # It is told by a close frame; who gets no answer goes on asking for a while.
    server.close()
    wait_until(page.browser, lambda: page.texts("#state") != ["Online"])
    page.say("kept")
    with make_server("localhost", server.port) as again:
        page.browser.execute_script("document.getElementById('retry').click()")
        page.wait_for_state("Online")
        page.wait_for("#log .said:not(.waiting) .words", "kept")
        assert transports(again, "garden") == ["polling"]


def test_switch_of_several_processes_says_why_it_is_none(open_page):
    arguments = ("demo", "--port", "0", "--processes", "2")
    with program(*arguments, env={"SYNCWS_HUB": ""}, patience=PATIENCE) as process:
        port = int(re.search(r":(\d+)/", process.stdout.readline())[1])
        page = open_page(port=port)
        wait_until(page.browser, lambda: not page.find("#transport").is_enabled())
        assert "several processes" in page.find("#transport-hint").text
        assert page.find("#transport").get_attribute("value") == "websocket"
        assert interrupt(process)[0] == 0


def test_phone_shows_the_exchange_and_nothing_is_too_wide(open_page):
    page = open_page(size=PHONE)
    page.find('#views [data-view="wire"]').click()
    forbid_websocket(page, "polling")
    assert not page.is_too_wide()
    details(exchanged(page, "response", "the session is open"))
    details(exchanged(page, "request", "TEXT"))
    assert not page.is_too_wide()
    assert page.find("#transport").rect["height"] >= 44
