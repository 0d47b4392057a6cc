"""What MODULE:HANDLER names."""

import sys

import pytest
from support.shell import DEADLINE, interrupt, program

import syncws
from syncws import cli
from syncws.cli.targets import TargetError, find_target


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """What writes a module into the current directory, and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"module_of_{abs(hash(request.node.name))}"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    sys.modules.pop(name, None)


def test_a_function(module):
    name = module("def handler(ws): return 42")
    assert find_target(f"{name}:handler")(None) == 42


def test_something_of_an_object(module):
    name = module("class App:\n    def handler(self, ws): return 42\napp = App()")
    assert find_target(f"{name}:app.handler")(None) == 42


def test_a_router(module):
    name = module("import syncws\nrouter = syncws.Router()")
    assert isinstance(find_target(f"{name}:router"), syncws.Router)


def test_a_map(module):
    routing = pytest.importorskip("werkzeug.routing")
    name = module("from werkzeug.routing import Map\nurl_map = Map()")
    assert isinstance(find_target(f"{name}:url_map"), routing.Map)


ROUTES = """
import syncws

router = syncws.Router()

@router.route("/greet/<name>")
def greet(ws, name):
    ws.send(f"hello, {name}")
"""


def test_a_router_is_served(module, tmp_path):
    name = module(ROUTES)
    with program("serve", f"{name}:router", "--port", "0", cwd=tmp_path) as process:
        assert process.stdout.readline().startswith(f"Serving {name}:router on ws://localhost:")
        uri = process.stdout.readline().split()[-1]
        with syncws.connect(f"{uri}greet/ada") as ws:
            assert ws.recv(DEADLINE) == "hello, ada"
        assert interrupt(process) == (0, "")


@pytest.mark.parametrize(
    ("source", "target", "error"),
    [
        ("", "no_such_module:handler", "there is no module 'no_such_module'"),
        ("", "{}.inner:handler", "there is no module '{}.inner'"),
        ("", "{}:handler", "{}:handler: there is no 'handler' in module '{}'"),
        ("x = 1", "{}:x.y", "{}:x.y: there is no 'y' in int"),
        ("x = 1", "{}:x", "{}:x is no handler: .*"),
        ("def x(): pass", "{}:x", "{}:x is no handler: a handler takes the connection, .*"),
        ("async def x(ws): pass", "{}:x", "{}:x is no handler: .*"),
        ("class X: wsgi_app = 1\nx = X()", "{}:x", "{}:x is a WSGI application; .*"),
        ("1 / 0", "{}:x", "{} can't be imported: ZeroDivisionError: division by zero"),
        ("import nosuch.thing", "{}:x", "{} can't be imported: No module named 'nosuch'"),
        ("x = ", "{}:x", "{} can't be imported: SyntaxError: .*"),
    ],
)
def test_what_can_not_be_served_is_said(module, source, target, error, capsys):
    name = module(source)
    with pytest.raises(TargetError, match=f"^{error.replace('{}', name)}$"):
        find_target(target.replace("{}", name))
    printed = capsys.readouterr().err
    assert ("Traceback" in printed) == ("can't be imported: Z" in error or "nosuch" in error)
    assert "importlib" not in printed
    assert "targets.py" not in printed
    status = cli.main(["serve", target.replace("{}", name), "--port", "0"])
    assert status == 2


@pytest.mark.parametrize(
    "text", ["dance", ":handler", "module:", "a b:c", "a:b:c", "x.py:handler:"]
)
def test_what_is_no_target_is_said(text, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", text])
    assert caught.value.code == 2
    assert f"{text!r} is neither echo, chat nor MODULE:HANDLER" in capsys.readouterr().err
