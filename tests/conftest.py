"""What tests of several rooms need."""

import pytest


@pytest.fixture(scope="module")
def browser():
    """A real browser without a window; pages must load nothing from outside."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run",
                     "disable-component-update", "disable-sync", "window-size=1500,1200"):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()
