"""Debian's Chromium, driven by selenium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.test import Client
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.admin.pages import Pages

#: No window, no sandbox (tests may run as root), and not a word to the outside.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)

#: Seconds until a page must have come.
DEADLINE = 20


class BrowserNotFound(RuntimeError):
    """Chromium or its driver is not installed."""


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A fresh browser with its own profile.

    Raises:
        BrowserNotFound: it is not installed.
    """
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise BrowserNotFound(
            "chromium or chromedriver is not in PATH; run: apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield browser
    finally:
        browser.quit()


class Visitor:
    """A user in front of the browser."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        self.address = address
        self.pages = Pages("/admin")

    def arrive(self) -> None:
        """Come without a session and with an empty console."""
        self.open("/static/django_jobqueue/admin.css")
        self.browser.delete_all_cookies()
        self.complaints()

    def log_in(self, client: Client) -> None:
        """Take over the session of a client that is logged in."""
        self.browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value, "path": "/"})

    def open(self, path: str) -> None:
        """Go to a page."""
        self.browser.get(self.address + path)

    def follow(self, css: str) -> None:
        """Click on what leads to another page, and wait until that is there."""
        self.browser.execute_script("window.isLeaving = true")
        self.element(css).click()
        # While one page makes way for the other, the driver may answer with all kinds of errors.
        WebDriverWait(self.browser, DEADLINE, ignored_exceptions=[WebDriverException]).until(
            lambda browser: browser.execute_script("return !window.isLeaving && document.readyState === 'complete'")
        )

    def element(self, css: str) -> Any:
        """The first element that fits."""
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def elements(self, css: str) -> list[Any]:
        """All elements that fit."""
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    @property
    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.element("body").text)

    def complaints(self) -> list[str]:
        """What the browser has written to its console, but that the test project has no icon."""
        messages = [entry["message"] for entry in self.browser.get_log("browser")]
        return [message for message in messages if "/favicon.ico" not in message]
