"""Fixtures: an S3 server on this machine behind a proxy that falters as it is told."""

import http.client
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer

KINDS = ("500", "503", "late", "cut")
LATE_SECONDS = 0.2
_SAID = {
    "500": b"<Error><Code>InternalError</Code><Message>We met an error.</Message></Error>",
    "503": b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>",
    "403": b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
}
_NOT_SENT_ON = ("connection", "transfer-encoding", "content-length", "date", "server")


TINY_NET = """
import torch
from torch import nn


def make():
    torch.manual_seed(7)
    body = [nn.Conv2d(3, 8, 9, stride=8), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


class Store:
    """S3 over HTTP on loopback: counts requests, and falters as it is told.

    Attributes:
        requests: Every request so far: method, path, query.
        injected: Faults so far by kind: ``500`` and ``503`` (answers), ``late``, ``cut`` (a body
            that ends early), ``403``.
    """

    def __init__(self, backend):
        self.backend = backend
        self.requests, self.injected = [], Counter()
        self._seed, self._rate, self._told = None, 0.0, []
        self._seen, self._lock = Counter(), threading.Lock()

    def count(self, method, part=""):
        """Requests so far of a method whose path holds ``part``."""
        return sum(one[0] == method and part in one[1] for one in self.requests)

    def fail_next(self, method, part, *kinds):
        """Faults for the next requests of a method whose path holds ``part``."""
        self._told.append((method, part, list(kinds)))

    @contextmanager
    def falter(self, seed, rate):
        """Faults for the first requests of a share of paths: of a seed the same, in any order."""
        self._seed, self._rate = seed, rate
        self._seen.clear()
        try:
            yield self.injected
        finally:
            self._seed = None

    def reset(self):
        """Forget requests and faults."""
        self.requests.clear()
        self.injected.clear()
        self._told.clear()

    def fault(self, method, path, query):
        """What befalls a request, if anything."""
        with self._lock:
            self.requests.append((method, path, query))
            kind = self._told_fault(method, path) or self._seeded_fault(method, path)
            if kind:
                self.injected[kind] += 1
            return kind

    def _told_fault(self, method, path):
        for wanted, part, kinds in self._told:
            if kinds and wanted == method and part in path:  # None: let one pass
                return kinds.pop(0)
        return None

    def _seeded_fault(self, method, path):
        if self._seed is None:
            return None
        number = self._seen[method, path]
        self._seen[method, path] += 1
        plan = random.Random(f"{self._seed} {method} {path}")
        # four outlast the client's own attempts
        burst = plan.choice((1, 1, 4)) if plan.random() < self._rate else 0
        kinds = [kind for kind in KINDS if kind != "cut" or method == "GET"]
        return plan.choices(kinds, k=burst)[number] if number < burst else None


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def _handle(self):
        body = self._body()
        parts = urlsplit(self.path)
        fault = self.store.fault(self.command, parts.path, parts.query)
        if fault in _SAID:
            self._answer(int(fault), {"Content-Type": "application/xml"}, _SAID[fault])
            return
        if fault == "late":
            time.sleep(LATE_SECONDS)
        self._answer(*self._ask(body), cut=fault == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def _ask(self, body):
        connection = http.client.HTTPConnection(*self.store.backend, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_SENT_ON}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status, headers, content, cut=False):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _NOT_SENT_ON:
                self.send_header(name, value)
        head = {name.lower(): value for name, value in headers.items()}
        length = head.get("content-length", "0") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def _served():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    store = Store(moto.get_host_and_port())
    handler = type("Proxy", (_Proxy,), {"store": store})
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield store
    proxy.shutdown()
    moto.stop()


@pytest.fixture
def store(_served):
    """An empty bucket ``s3://bucket`` that clients find by the environment."""
    bucket = boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).Bucket("bucket")
    bucket.objects.delete()
    _served.reset()
    return _served


@pytest.fixture(scope="session")
def tiny_net():
    """The module that ``tiny_backbone`` comes from."""
    return TINY_NET


@pytest.fixture
def tiny_backbone(tmp_path, monkeypatch):
    """Name of a classifier of five classes that costs next to nothing."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tiny_net.py").write_text(TINY_NET)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)  # for processes to come
    yield "tiny_net:make"
    sys.modules.pop("tiny_net", None)
