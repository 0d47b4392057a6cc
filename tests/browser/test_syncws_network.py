"""syncws.js loses nothing, doubles nothing and keeps the order, whatever HTTP does to it."""

import json
import threading

import pytest
from support.fallback_peer import FallbackPeer, Faults, echo
from support.node import needs_node, run_node

pytestmark = [pytest.mark.once, needs_node]

OVER_HTTP = '["streaming", "polling"]'

COUNT = 400

# Sends numbers in small groups, and reports what comes back that isn't the next number.
NUMBERS = """
    const ws = new Syncws(url, [], { transports: %s });
    await next(ws, "open");
    let due = 0, sent = 0;
    const send = () => {
      for (let i = 0; i < 5 && sent < COUNT; i++) ws.send(sent++);
      if (sent < COUNT) setTimeout(send, 1);
    };
    send();
    await new Promise((resolve) => {
      ws.onmessage = ({ data }) => {
        if (data != due) report([data, due]);
        if (++due == COUNT) resolve();
      };
      ws.onclose = resolve;
    });
    ws.onclose = ({ code, wasClean }) => {
      report([due, ws.transport, code, wasClean]);
      done();
    };
    ws.close(1000);
""".replace("COUNT", str(COUNT))


def every(n):
    return lambda number: number % n == 0


FAULTS = {
    "every third request is lost": Faults(lose_request=every(3)),
    "every third response is lost": Faults(lose_response=every(3)),
    "every other request comes twice": Faults(repeat=every(2)),
    "requests come twice and responses are lost": Faults(repeat=every(2), lose_response=every(3)),
    "a gateway fails now and then": Faults(gateway_error=every(4)),
    "requests are late": Faults(delay=lambda number: number % 3 * 0.02),
}


@pytest.mark.parametrize("transport", ["streaming", "polling"])
@pytest.mark.parametrize("name", FAULTS)
def test_all_messages_come_once_and_in_order(name, transport):
    peer = FallbackPeer(echo, FAULTS[name])
    with peer.running() as url:
        said = run_node(NUMBERS % f'["{transport}"]', url)
    assert said == [[COUNT, transport, 1000, True]]
    assert len(peer.sessions) == 1


def test_streams_that_are_cut_go_on_where_they_were():
    peer = FallbackPeer(echo, Faults(cut_streams_at=500))
    with peer.running() as url:
        said = run_node(NUMBERS % OVER_HTTP, url)
    assert said == [[COUNT, "streaming", 1000, True]]
    assert len(peer.named("GET")) > 5


def test_streams_that_never_bring_anything_give_way_to_polling():
    peer = FallbackPeer(echo, Faults(cut_streams_at=21))  # just after "open"
    with peer.running() as url:
        said = run_node(NUMBERS % OVER_HTTP, url)
    assert said == [[COUNT, "polling", 1000, True]]
    streams = [each for each in peer.named("GET") if "event-stream" in each.headers["accept"]]
    assert 3 <= len(streams) <= 4


def test_a_proxy_that_keeps_streams_back_gets_polling():
    peer = FallbackPeer(echo, Faults(holds_back=True))
    with peer.running() as url:
        said = run_node(NUMBERS % OVER_HTTP, url)
    assert said == [[COUNT, "polling", 1000, True]]


def test_a_server_without_streams_is_polled():
    peer = FallbackPeer(echo, opening={"streaming": False})
    with peer.running() as url:
        said = run_node(NUMBERS % OVER_HTTP, url)
    assert said == [[COUNT, "polling", 1000, True]]
    assert all("event-stream" not in each.headers["accept"] for each in peer.named("GET"))


def waits(peer):
    return [int(each.headers["syncws-wait"]) for each in peer.named("GET")]


LATE = """
    const ws = new Syncws(url, [], { transports: ["TRANSPORT"] });
    ws.onmessage = ({ data }) => report(data);
    const { code } = await next(ws, "close");
    report(code);
    done();
"""


def test_where_a_proxy_cuts_after_some_seconds_polls_take_less():
    def talk(session):
        with session.changed:
            assert session.changed.wait_for(lambda: session.gets >= 3, 20)
        session.say("late")
        session.close()

    peer = FallbackPeer(talk, Faults(cut_after=3))
    with peer.running() as url:
        assert run_node(LATE.replace("TRANSPORT", "polling"), url) == ["late", 1000]
    assert waits(peer)[:3] == [25, 2, 2]


def test_where_a_proxy_cuts_after_some_seconds_streams_have_more_comments():
    def talk(session):
        with session.changed:
            assert session.changed.wait_for(lambda: session.comments >= 3, 20)
        session.say("late")
        session.close()

    peer = FallbackPeer(talk, Faults(cut_after=3))
    with peer.running() as url:
        assert run_node(LATE.replace("TRANSPORT", "streaming"), url) == ["late", 1000]
    assert waits(peer) == [2, 25, 2]  # the first one is to show that comments come at all


def test_a_lost_response_to_the_opening_opens_no_second_session():
    peer = FallbackPeer(echo, Faults(lose_response=lambda number: number in (1, 2)))
    with peer.running() as url:
        said = run_node(NUMBERS % OVER_HTTP, url)
    assert said == [[COUNT, "streaming", 1000, True]]
    assert len(peer.sessions) == 1
    openings = [each for each in peer.seen if each.headers.get("syncws-session") == "new"]
    assert len(openings) == 3
    assert len({each.headers["syncws-nonce"] for each in openings}) == 1
    assert len(openings[0].headers["syncws-nonce"]) == 32


def test_it_gives_up_after_the_sessions_timeout():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        const began = Date.now();
        const { code, wasClean } = await next(ws, "close");
        const time = Date.now() - began;
        report([code, wasClean, time >= 1000 && time < 8000]);
        done();
    """
    faults = Faults(lose_request=lambda number: bool(peer.sessions))
    peer = FallbackPeer(lambda session: None, faults, opening={"session_timeout": 1})
    with peer.running() as url:
        assert run_node(source, url) == [[1006, False, True]]
    assert len(peer.named("GET")) < 15


def test_a_proxy_that_takes_no_large_bodies_gets_smaller_ones():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        ws.send(new Uint8Array(200000));
        const { data } = await next(ws, "message");
        report(data.size);
        done();
    """
    peer = FallbackPeer(echo, Faults(max_body=30000))
    with peer.running() as url:
        assert run_node(source, url) == [200000]


def test_a_link_that_is_slow_gets_smaller_bodies_for_a_while():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        for (let i = 0; i < 2; i++) {
          ws.send(new Uint8Array(200000));
          const { data } = await next(ws, "message");
          report(data.size);
        }
        done();
    """
    cut = threading.Event()

    def lose(number):
        """Cut what takes long, as long as bodies are large."""
        is_slow = len(peer.seen[-1].body) > 70000 and not cut.is_set()
        return is_slow and not cut.wait(2.2)

    def talk(session):
        session.say(session.recv()[1])
        cut.set()
        echo(session)

    peer = FallbackPeer(talk, Faults(lose_request=lose), opening={"session_timeout": 5})
    with peer.running() as url:
        assert run_node(source, url) == [200000, 200000]
    sizes = [len(each.body) for each in peer.named("POST") if each.body]
    assert sizes[0] == max(sizes) > 200000
    assert max(sizes[-3:]) > 60000


def assert_survives(peer, answer):
    """Answer the first request with messages with this, and see that none are lost."""
    act, failed = peer._act, []

    def fail_first(http, request):
        if request.body and not failed:
            failed.append(request)
            return answer
        return act(http, request)

    peer._act = fail_first
    with peer.running() as url:
        assert run_node(NUMBERS % OVER_HTTP, url) == [[COUNT, "streaming", 1000, True]]
    assert failed


@pytest.mark.parametrize("code", [502, "BadGateway"])
def test_codes_of_others_say_nothing_about_the_session(code):
    body = json.dumps({"error": {"code": code, "message": "try again"}}).encode()
    answer = (502, body, {"Content_Type": "application/json"})
    peer = FallbackPeer(echo, refuse=lambda number: answer if number == 1 else None)
    assert_survives(peer, answer)


def test_a_proxy_that_asks_for_patience_does_not_end_the_session():
    answer = (503, b"<h1>Busy</h1>", {"Content_Type": "text/html", "Retry_After": 3600})
    peer = FallbackPeer(echo, opening={"session_timeout": 4})
    assert_survives(peer, answer)


def test_what_answers_at_once_with_nothing_is_not_asked_all_the_time():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        setTimeout(done, 1500);
    """
    peer = FallbackPeer(echo, Faults(answers_polls=True))
    with peer.running() as url:
        run_node(source, url)
    assert 3 <= len(peer.named("GET")) <= 12


def test_a_page_that_goes_ends_its_session():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        await done();
    """
    peer = FallbackPeer(echo)
    with peer.running() as url:
        run_node(source, url)
        assert len(peer.named("DELETE")) == 1


def test_after_the_closing_handshake_the_server_need_not_keep_the_session():
    source = """
        const ws = new Syncws(url, [], { transports: ["polling"] });
        await next(ws, "open");
        ws.close();
        await next(ws, "close");
        done();
    """
    peer = FallbackPeer(echo)
    with peer.running() as url:
        run_node(source, url)
    assert [each.method for each in peer.seen][-1] == "DELETE"


def test_requests_are_what_the_page_of_the_protocol_says():
    source = """
        const ws = new Syncws(url, ["chat", "other"], { transports: ["polling"] });
        await next(ws, "open");
        ws.send("hello");
        await next(ws, "message");
        ws.send("again");
        await next(ws, "message");
        done();
    """
    peer = FallbackPeer(echo)
    with peer.running() as url:
        run_node(source, url)
    assert {each.path for each in peer.seen} == {"/chat?room=news"}
    opening, *others = peer.seen
    assert opening.headers["syncws-protocol"] == "chat, other"
    assert opening.headers["content-length"] == "0"
    (session,) = peer.sessions
    assert {each.headers["syncws-session"] for each in others} == {session}
    post = next(each for each in others if each.method == "POST")
    assert post.headers["syncws-position"] == "0"
    assert post.headers["content-type"] == "application/octet-stream"
    assert post.body == b"\x81\x85\0\0\0\0hello"
    gets = [each.headers["syncws-ack"] for each in others if each.method == "GET"]
    assert gets[:2] == ["0", "7"]
