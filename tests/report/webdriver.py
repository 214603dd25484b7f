"""Headless Chromium through chromedriver's plain HTTP interface: no package needed."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-default-browser-check",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
]


def available() -> bool:
    """Are Chromium and its driver installed?"""
    return bool(shutil.which("chromedriver") and (shutil.which("chromium") or shutil.which("google-chrome")))


class Chromium:
    """One browser with a fresh profile."""

    def __init__(
        self, *, width: int = 1360, height: int = 900, dark: bool = False, webgl: bool = False
    ) -> None:
        self.profile = tempfile.mkdtemp(prefix="chromium-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [str(shutil.which("chromedriver")), f"--port={self.port}", "--log-level=OFF"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        args = [*FLAGS, f"--user-data-dir={self.profile}", f"--window-size={width},{height}"]
        if webgl:  # drawn in software: no machine of ours has a screen
            args += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
            args.remove("--disable-gpu")
        if dark:
            args += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]
        options = {"args": args, "binary": shutil.which("chromium") or shutil.which("google-chrome")}
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        for attempt in range(60):
            try:
                answer = self._call(
                    "POST", "/session", {"capabilities": {"alwaysMatch": wanted}}, session=False
                )
                break
            except (urllib.error.URLError, ConnectionError):
                if attempt == 59:
                    raise
                time.sleep(0.25)
        self.session = answer["sessionId"]
        self.command("Performance.enable", {"timeDomain": "threadTicks"})

    def _call(self, method: str, path: str, body: Any = None, *, session: bool = True) -> Any:
        url = f"http://127.0.0.1:{self.port}" + (f"/session/{self.session}" if session else "") + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:600]) from None

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *args: Any) -> Any:
        """The value a script returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """Run a script until what it returns is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def command(self, name: str, params: dict[str, Any]) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": params})

    def busy_seconds(self) -> float:
        """CPU seconds of the page's main thread so far: what the machine's other work does not change."""
        metrics = self.command("Performance.getMetrics", {})["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    def resize(self, width: int, height: int) -> None:
        """A window of this size."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def screenshot(self, path: str | Path) -> None:
        """What the window shows, as PNG."""
        Path(path).write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def errors(self) -> list[str]:
        """Console messages of level warning or worse since the last call, but for those of software WebGL itself."""
        entries = self._call("POST", "/se/log", {"type": "browser"})
        heard = [e["message"] for e in entries if e["level"] in ("SEVERE", "WARNING")]
        return [m for m in heard if "GL Driver Message" not in m and "software WebGL" not in m]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call."""
        out = []
        for entry in self._call("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                out.append(message["params"]["request"]["url"])
        return out

    def close(self) -> None:
        """End the browser and its driver, and remove the profile."""
        with contextlib.suppress(OSError, RuntimeError):
            self._call("DELETE", "")
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.profile, ignore_errors=True)
