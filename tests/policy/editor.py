"""An editor without a screen: it talks to the YAML language server as an author's editor does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any

PATIENCE = 60.0
"""Seconds after which a server that does not answer is ended."""


class Editor:
    """Opens texts as new files of a folder, which nobody writes. https://microsoft.github.io/language-server-protocol/"""

    def __init__(self, node: str, server: Path, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._process = subprocess.Popen(
            [node, str(server), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._watchdog = Timer(PATIENCE, self._process.kill)
        self._watchdog.start()
        self._ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": {}})
        self._tell("initialized", {})
        # no catalogue of schemas from the network: the first line of a file names its own
        off = {"enable": False}
        told = {"validate": True, "completion": True, "hover": True, "schemaStore": off, "kubernetesCRDStore": off}
        self._tell("workspace/didChangeConfiguration", {"settings": {"yaml": told}})

    def __enter__(self) -> Editor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        self._process.kill()
        self._process.communicate()

    def diagnostics(self, name: str, text: str) -> list[tuple[int, str]]:
        """What is underlined in a file with this text: line, counted from 1, and message."""
        uri = self._open(name, text)
        while uri not in self._said:
            self._read()
        return [(each["range"]["start"]["line"] + 1, each["message"]) for each in self._said.pop(uri)]

    def completions(self, name: str, text: str) -> dict[str, str]:
        """What is offered where `|` stands in the text, with what is said about it."""
        before, _, after = text.partition("|")
        uri = self._open(name, before + after)
        lines = before.split("\n")
        place = {"line": len(lines) - 1, "character": len(lines[-1])}
        found = self._ask("textDocument/completion", {"textDocument": {"uri": uri}, "position": place})
        items = found["items"] if isinstance(found, dict) else found or []
        return {item["label"]: str(_text(item.get("documentation"))) for item in items}

    def _open(self, name: str, text: str) -> str:
        self._number += 1
        file = self._folder / name
        uri = file.with_name(f"{self._number}-{file.name}").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})
        return uri

    def _ask(self, method: str, params: Any) -> Any:
        self._number += 1
        mine = self._number
        self._send({"id": mine, "method": method, "params": params})
        while True:
            message = self._read()
            if message.get("id") == mine and "method" not in message:
                return message.get("result")

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        """The next message; diagnostics are kept, questions to the editor are answered with nothing."""
        message = self._next()
        if message.get("method") == "textDocument/publishDiagnostics":
            self._said[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif "method" in message and "id" in message:
            self._send({"id": message["id"], "result": None})
        return message

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        if not length:
            raise EOFError("the language server has ended")
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


def _text(documentation: Any) -> str:
    return str(documentation["value"] if isinstance(documentation, dict) else documentation or "")
