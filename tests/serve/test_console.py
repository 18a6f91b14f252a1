"""The console in a real browser; skipped without one."""

import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from tests.serve.conversing import fit_and_save, known_method
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings
from warmstart.serve.storage.keys import make_key

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("WARMSTART_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), "")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
TIMEOUT = 10_000  # ms, until the page shows what a test expects
STRICT_JSON = """
// A field that a response does not have is an error, where JavaScript gives undefined.
const strict = (value) => {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(strict);
    return new Proxy(value, {
        get(object, name) {
            if (typeof name === "symbol" || ["then", "toJSON"].includes(name)) return undefined;
            if (!Object.hasOwn(object, name)) console.error(`no field ${name} in the response`);
            return strict(object[name]);
        },
    });
};
const json = Response.prototype.json;
Response.prototype.json = async function () { return strict(await json.call(this)); };
"""


@dataclass
class Served:
    """A running service."""

    url: str
    key: str
    users: list[str]
    items: list[str]
    titles: dict[str, str]

    def post(self, path: str, body: dict) -> dict:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.post(self.url + path, json=body, headers=headers).raise_for_status().json()


@pytest.fixture(scope="module")
def served(tmp_path_factory, model_folder, lm_folder, toy_split) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("console"), model_folder, lm_folder, toy_split) as found:
        yield found


@pytest.fixture(scope="module")
def talking(tmp_path_factory, lm_folder, toy_split) -> Iterator[Served]:
    """A service of a model that can be asked in words, and simulates no users."""
    folder = tmp_path_factory.mktemp("talking")
    with known_method():
        model = fit_and_save(toy_split.train, lm_folder, folder / "talk")
        with serving(folder, model, lm_folder, toy_split) as found:
            yield found


@contextmanager
def serving(folder, model, lm, toy_split) -> Iterator[Served]:
    store = f"sqlite:///{folder / 'store.db'}"
    settings = Settings(model=model, encoder=str(lm), store=store, poll_seconds=0.2)
    service = Service(settings)
    key = make_key(service.store, "console", "admin")
    service.keys.load(service.store.keys.all())
    config = uvicorn.Config(create_app(service), log_config=None, ws="none")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=[[listening]], daemon=True)
        thread.start()
        end = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.02)
        users = [str(name) for name in toy_split.train.user_ids.values]
        items = [str(name) for name in toy_split.train.catalogue.item_ids.values]
        titles = dict(zip(items, toy_split.train.catalogue.columns["title"], strict=True))
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", key, users, items, titles)
        server.should_exit = True
        thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip(f"no Chromium: none of {_NAMES} is installed; set WARMSTART_CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser, served):
    """The console, without a key."""
    with console(browser, served) as page:
        yield page


@contextmanager
def console(browser, served):
    """A page of the console.

    At the end no request has left the host, no error has gone unseen, and no field was read that
    the API does not have.
    """
    from playwright.sync_api import expect

    expect.set_options(timeout=TIMEOUT)
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    requested, errors = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.add_init_script(STRICT_JSON)
    page.clock.install()
    page.goto(served.url + "/console/")
    yield page
    context.close()
    assert requested
    assert [url for url in requested if not url.startswith(served.url + "/")] == []
    # The browser logs each error response; the tests provoke these, and the page shows them.
    assert [line for line in errors if not line.startswith("Failed to load resource")] == []


@pytest.fixture
def opened(page, served):
    """The console, with the key."""
    return with_key(page, served)


@pytest.fixture
def talk(browser, talking):
    """The console of a model that can be asked in words, with the key."""
    with console(browser, talking) as page:
        yield with_key(page, talking)


def with_key(page, served):
    page.get_by_label("API key").fill(served.key)
    page.get_by_role("button", name="Use key").click()
    page.get_by_role("heading", name="A new item").wait_for()
    return page


def shows(locator):
    from playwright.sync_api import expect

    return expect(locator)


def write(page, text):
    page.get_by_label("title").fill(text)


def preview(page):
    page.get_by_role("button", name="Show likely users").click()


def publish(page, item):
    page.get_by_label("Item id").fill(item)
    page.get_by_role("button", name="Publish").click()


def show_list(page, user):
    page.get_by_label("User id").fill(user)
    page.get_by_role("button", name="Show list").click()


def test_the_page_may_load_nothing_but_its_own_files(served):
    response = httpx.get(served.url + "/console/")
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    for name in re.findall(r'(?:src|href)="([^"#]+)"', response.text):
        assert httpx.get(f"{served.url}/console/{name}").status_code == 200
    assert not re.search(r"<script>|style=|\son\w+=|https?://", response.text)
    assert httpx.get(served.url + "/console/__init__.py").status_code == 404


def test_preview_shows_users_neighbours_and_exposure(opened, served):
    write(opened, "even pair of six")
    preview(opened)
    audience = opened.get_by_role("table", name="Likeliest users").get_by_role("row")
    shows(audience).to_have_count(11)
    assert audience.nth(0).get_by_role("columnheader").all_inner_texts() == [
        "User",
        "Probability",
        "Rank in their list",
    ]
    user, probability, rank = audience.nth(1).get_by_role("cell").all_inner_texts()
    assert (user != "", probability[-2:], int(rank) >= 1) == (True, " %", True)
    nearest = opened.get_by_role("table", name="Nearest items").get_by_role("row")
    shows(nearest).to_have_count(11)
    columns = {"title": "even pair of six"}
    simulation = served.post("/v1/simulate", {"columns": columns})
    exposure, capped = (
        f"{100 * simulation[name]:.1f} %" for name in ("exposure", "capped_exposure")
    )
    assert exposure != capped
    shows(opened.locator("#exposure")).to_have_text(
        f"Exposure by its text: in the first 20 of {exposure} of the users; "
        f"capped at {capped} until its first click."
    )
    shows(opened.locator("#calibration")).to_contain_text(simulation["calibration"])


def test_a_published_item_is_recommended_and_warms_up(opened, served):
    write(opened, "even pair of six")
    publish(opened, "new one")
    state = opened.locator("#item-state")
    shows(state).to_have_text(re.compile(r"new one: created, and recommended to .+ after \d+ ms\."))
    (user,) = re.findall(r"recommended to (.+), its likeliest user", state.inner_text())
    opened.get_by_label("Cold items only").check()
    show_list(opened, user)
    mine = opened.get_by_role("table", name=f"Recommended to {user}").get_by_role("row")
    shows(mine.filter(has_text="new one")).to_contain_text("cold")
    shows(mine.filter(has_text="new one")).to_contain_text("similar to")

    warming = opened.get_by_role("table", name="The last 20 items written").get_by_role("row")
    shows(warming.filter(has_text="new one")).to_contain_text("0.0 %")
    events = [{"user": name, "item": "new one"} for name in served.users[:10]]
    served.post("/v1/interactions", {"interactions": events})
    opened.clock.run_for(10_000)
    shows(warming.filter(has_text="new one")).to_contain_text("50.0 %")

    publish(opened, "new one")
    shows(state).to_contain_text("new one: unchanged, and recommended")
    write(opened, "odd single of seven")
    publish(opened, "new one")
    shows(state).to_have_text(re.compile(r"new one: updated, and recommended to .+ after \d+ ms\."))


def test_a_list_marks_cold_items(opened, served):
    for user in served.users:
        hits = served.post("/v1/recommend", {"user": user, "k": 20})["items"]
        if {hit["is_cold"] for hit in hits} == {True, False}:
            break
    show_list(opened, user)
    rows = opened.get_by_role("table", name=f"Recommended to {user}").get_by_role("row")
    shows(rows).to_have_count(1 + len(hits))
    for row, hit in zip(rows.all()[1:], hits, strict=True):
        rank, kind, item, _ = row.get_by_role("cell").all_inner_texts()
        assert (int(rank), kind) == (hit["rank"], "cold" if hit["is_cold"] else "warm")
        assert item.startswith(served.titles[hit["item"]])
        assert hit["item"] in item
    cold = sum(hit["is_cold"] for hit in hits)
    shows(opened.locator("#list-state")).to_contain_text(f"{len(hits)} items, {cold} of them cold")


def test_a_list_under_a_control_shows_the_genres_of_its_items(opened, served):
    user = served.users[0]
    rows = opened.get_by_role("table", name=f"Recommended to {user}").get_by_role("row")

    def listed(control):
        body = {"user": user, "k": 20, "with": ["categories"], "control": control}
        hits = served.post("/v1/recommend", body)["items"]
        return [(str(hit["item"]), hit["columns"]["categories"].split("|")) for hit in hits]

    def asks(control):
        """The page shows the list under a control, and returns the genres in it."""
        expected = listed(control)
        show_list(opened, user)
        shows(rows).to_have_count(1 + len(expected))
        for row, (item, genres) in zip(rows.all()[1:], expected, strict=True):
            shows(row.get_by_role("cell").nth(2)).to_contain_text(item)
            shows(row.get_by_role("cell").nth(3)).to_have_text(", ".join(genres))
        return {genre for _, genres in expected for genre in genres}

    plain = asks({})
    assert rows.nth(0).get_by_role("columnheader").all_inner_texts()[3] == "Genres"
    opened.get_by_label("Number of genres").fill("3")
    three = asks({"n_genres": 3})
    assert len(three) == 3 < len(plain)
    opened.get_by_label("Number of genres").fill("")
    named = sorted(three)[:2]
    opened.get_by_label("Only these genres").fill(" | ".join(named))
    assert asks({"genres": named}) == set(named)
    opened.get_by_label("Diversity, 0 to 1").fill("0.5")
    show_list(opened, user)
    alert = opened.get_by_role("alert")
    shows(alert).to_contain_text("at most one setting may be given, not genres and diversity")
    opened.get_by_label("Only these genres").fill("")
    asks({"diversity": 0.5})
    shows(alert).to_have_count(0)
    opened.get_by_label("Diversity, 0 to 1").fill("")
    opened.get_by_label("Genres as in the user's history").check()
    asks({"calibrate": True})
    opened.get_by_label("Genres as in the user's history").uncheck()
    opened.get_by_label("Only these genres").fill("no such genre")
    show_list(opened, user)
    shows(alert).to_contain_text("unknown categories ['no such genre']")
    opened.set_viewport_size({"width": 375, "height": 700})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 375


def find(page, words):
    page.get_by_label("Words to find").fill(words)
    page.get_by_role("button", name="Find").click()


def test_an_item_is_found_by_its_title_and_shown_as_a_picture(opened, served):
    write(opened, "even pair of Nine")
    publish(opened, "n-9")
    shows(opened.locator("#item-state")).to_contain_text("recommended to")
    find(opened, "PAIR of nine")
    rows = opened.get_by_role("table", name="Found items").get_by_role("row")
    shows(rows).to_have_count(2)
    shows(rows.nth(1)).to_contain_text("even pair of Nine n-9")
    opened.get_by_role("button", name="even pair of Nine n-9").click()
    audience = opened.get_by_role("table", name="Its likeliest users").get_by_role("row")
    shows(audience).to_have_count(11)
    shows(opened.locator("#warming-text")).to_contain_text("0 users clicked it since the fit")
    before = opened.locator("circle").get_attribute("cx")
    events = [{"user": name, "item": "n-9"} for name in served.users[:10]]
    served.post("/v1/interactions", {"interactions": events})
    opened.wait_for_timeout(1500)
    opened.get_by_role("button", name="even pair of Nine n-9").click()
    shows(opened.locator("#warming-text")).to_contain_text("50.0 % of the weight")
    assert float(opened.locator("circle").get_attribute("cx")) > float(before)
    name, title = next(iter(served.titles.items()))  # an item of the training data
    find(opened, title)
    shows(rows.filter(has_text=name)).to_contain_text("trained")
    find(opened, "no such words")
    shows(rows.nth(1)).to_contain_text("No item has these words")


def send(page, text):
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def test_a_conversation_shows_what_is_recognised_and_a_list_after_each_turn(talk, talking):
    item, title = next(iter(talking.titles.items()))
    rows = talk.get_by_role("table", name="Recommended in this conversation").get_by_role("row")
    messages = talk.get_by_role("list", name="Messages").get_by_role("listitem")
    state = talk.locator("#talk-state")
    send(talk, f"I liked {title}.")
    shows(state).to_have_text(f"Recognised in the messages: {title} ({item}).")
    shows(rows).to_have_count(11)
    shows(messages).to_have_text([f"User I liked {title}."])
    shows(talk.get_by_label("Message", exact=True)).to_have_value("")
    talk.get_by_label("From the system").check()
    send(talk, "Something <b>longer</b>?")
    shows(messages).to_have_text([f"User I liked {title}.", "System Something <b>longer</b>?"])
    body = {
        "messages": [
            {"speaker": "user", "text": f"I liked {title}."},
            {"speaker": "system", "text": "Something <b>longer</b>?"},
        ]
    }
    hits = talking.post("/v1/converse", body)["items"]
    for row, hit in zip(rows.all()[1:], hits, strict=True):
        rank, kind, name = row.get_by_role("cell").all_inner_texts()
        assert (int(rank), kind) == (hit["rank"], "cold" if hit["is_cold"] else "warm")
        assert hit["item"] in name
    send(talk, " ")
    shows(talk.get_by_role("alert")).to_contain_text("more than white space")
    shows(messages).to_have_count(2)
    talk.get_by_role("button", name="Start again").click()
    shows(messages).to_have_count(0)
    shows(rows).to_have_count(0)
    talk.get_by_label("From the system").uncheck()
    send(talk, "hello")
    shows(state).to_have_text("No item was recognised in the messages.")
    shows(messages).to_have_text(["User hello"])
    talk.set_viewport_size({"width": 375, "height": 700})
    send(talk, "long" * 100)
    shows(messages).to_have_count(2)
    assert talk.evaluate("document.documentElement.scrollWidth") <= 375


def test_what_a_model_cannot_do_is_hidden(talk, opened):
    shows(opened.get_by_role("button", name="Show likely users")).to_be_visible()
    shows(opened.get_by_role("heading", name="Conversation")).to_have_count(0)
    shows(talk.get_by_role("heading", name="Conversation")).to_be_visible()
    shows(talk.get_by_role("button", name="Show likely users")).to_have_count(0)
    write(talk, "even pair of six")
    talk.get_by_label("title").press("Enter")
    publish(talk, "new one")
    shows(talk.locator("#item-state")).to_have_text("new one: created, and can be recommended.")
    shows(talk.get_by_role("alert")).to_have_count(0)


def test_an_error_is_shown_until_the_next_success(opened, served):
    alert = opened.get_by_role("alert")
    shows(alert).to_have_count(0)
    preview(opened)
    shows(alert).to_contain_text("an item needs a text")
    write(opened, "\0")
    preview(opened)
    shows(alert).to_contain_text("#/columns/title: ")
    write(opened, "even pair")
    preview(opened)
    shows(opened.get_by_role("table", name="Likeliest users")).to_be_visible()
    shows(alert).to_have_count(0)

    show_list(opened, served.users[0])
    lists = opened.get_by_role("table", name="Recommended to")
    shows(lists).to_be_visible()
    show_list(opened, "nobody")
    shows(alert).to_contain_text("the user is not in the training data")
    shows(alert).to_be_in_viewport()
    shows(lists).to_have_count(0)
    show_list(opened, served.users[0])
    shows(lists).to_be_visible()
    shows(alert).to_have_count(0)


def test_an_earlier_success_of_another_form_keeps_the_error(opened, served):
    held = []
    opened.route("**/v1/recommend", lambda route: held.append(route))
    show_list(opened, served.users[0])
    preview(opened)
    alert = opened.get_by_role("alert")
    shows(alert).to_contain_text("an item needs a text")
    opened.unroute("**/v1/recommend")  # this lets held requests go on
    assert held
    shows(opened.get_by_role("table", name="Recommended to")).to_be_visible()
    shows(alert).to_contain_text("an item needs a text")


def test_a_wrong_key_is_an_error_and_a_right_one_clears_it(page, served):
    shows(page.get_by_text("Enter an API key to begin")).to_be_visible()
    shows(page.get_by_role("alert")).to_have_count(0)
    page.get_by_label("API key").fill("ws_wrong_key")
    page.get_by_label("API key").press("Enter")
    shows(page.get_by_role("alert")).to_contain_text("the API key is unknown")
    shows(page.get_by_role("heading", name="A new item")).to_have_count(0)
    page.get_by_label("API key").fill(served.key)
    page.get_by_label("API key").press("Enter")
    shows(page.get_by_role("heading", name="A new item")).to_be_visible()
    shows(page.get_by_role("alert")).to_have_count(0)
    page.reload()  # the tab keeps the key
    shows(page.get_by_role("heading", name="A new item")).to_be_visible()


def test_an_unreachable_service_is_an_error_until_it_is_back(opened):
    shows(opened.locator("#health-state")).to_have_text("Up to date.")
    opened.context.set_offline(True)
    opened.clock.run_for(4000)
    shows(opened.get_by_role("alert")).to_contain_text("the service does not answer")
    opened.context.set_offline(False)
    opened.clock.run_for(4000)
    shows(opened.get_by_role("alert")).to_have_count(0)


def test_everything_can_be_done_with_the_keyboard(page, served):
    def tab(name):
        """Press Tab: the named element has the focus, and visibly so."""
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        shows(focused).to_have_accessible_name(name)
        assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        box = focused.bounding_box()
        assert box is not None
        assert box["x"] >= 0

    tab("Skip to content")
    page.keyboard.press("Enter")
    shows(page.locator("main")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type(served.key)
    page.keyboard.press("Enter")
    shows(page.get_by_role("heading", name="A new item")).to_be_visible()
    tab("Use key")
    tab("title")
    page.keyboard.type("even pair of six")
    tab("text")
    tab("Show likely users")
    page.keyboard.press("Enter")
    shows(page.get_by_role("table", name="Likeliest users")).to_be_visible()
    shows(page.get_by_role("button", name="Show likely users")).to_be_focused()
    tab("Item id")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    shows(page.locator("#item-state")).to_contain_text("recommended to")
    tab("Publish")
    tab("User id")
    page.keyboard.type(served.users[0])
    page.keyboard.press("Enter")
    shows(page.get_by_role("table", name="Recommended to")).to_be_visible()
    tab("Cold items only")
    page.keyboard.press("Space")
    shows(page.get_by_label("Cold items only")).to_be_checked()
    tab("Show list")
    tab("Number of genres")
    tab("Diversity, 0 to 1")
    tab("Genres as in the user's history")
    tab("Only these genres")
    tab("Words to find")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    shows(page.get_by_role("table", name="Found items")).to_be_visible()
    tab("Find")
    tab("even pair of six typed")
    page.keyboard.press("Enter")
    shows(page.locator("#picture-title")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(opened, served, scheme):
    def width():
        return opened.evaluate("document.documentElement.scrollWidth")

    opened.emulate_media(color_scheme=scheme)
    opened.set_viewport_size({"width": 375, "height": 700})
    assert width() <= 375
    write(opened, "even pair of six")
    preview(opened)
    shows(opened.get_by_role("table", name="Likeliest users")).to_be_visible()
    publish(opened, "long" * 40)
    shows(opened.locator("#item-state")).to_contain_text("recommended to")
    show_list(opened, served.users[0])
    shows(opened.get_by_role("table", name="Recommended to")).to_be_visible()
    assert width() <= 375
    show_list(opened, "nobody" * 40)
    shows(opened.get_by_role("alert")).to_be_visible()
    assert width() <= 375


def test_a_text_is_only_ever_text(opened):
    evil = "<img src=x onerror=alert(1)>"
    write(opened, f"even pair {evil}")
    publish(opened, evil)
    shows(opened.locator("#item-state")).to_contain_text(f"{evil}: created, and recommended to")
    warming = opened.get_by_role("table", name="The last 20 items written")
    shows(warming.get_by_role("cell", name=evil)).to_be_visible()
    assert opened.locator("img").count() == 0


def test_every_element_has_a_name_for_screen_readers(opened, served):
    write(opened, "even pair of six")
    preview(opened)
    show_list(opened, served.users[0])
    shows(opened.get_by_role("table", name="Recommended to")).to_be_visible()
    found = opened.evaluate(
        """() => {
            const all = (what) => [...document.querySelectorAll(what)];
            const ids = all("[id]").map((e) => e.id);
            return {
                lang: document.documentElement.lang,
                title: document.title,
                levels: all("h1, h2").map((e) => e.tagName).join(" "),
                unlabelled: all("input, textarea").filter((e) => !e.labels.length).length,
                unnamed: all("button").filter((e) => !e.textContent.trim()).length,
                uncaptioned: all("table").filter((e) => !e.caption?.textContent.trim()).length,
                unscoped: all("th").filter((e) => e.scope !== "col").length,
                doubled: ids.filter((id, at) => ids.indexOf(id) !== at),
                live: all("[role=status], [role=alert]").length,
            };
        }"""
    )
    assert found["lang"] == "en"
    assert found["title"]
    assert found["levels"] == "H1 H2 H2 H2 H2 H2 H2"
    assert found["live"] == 6
    assert not any(found[name] for name in ("unlabelled", "unnamed", "uncaptioned", "unscoped"))
    assert found["doubled"] == []


def test_the_page_of_the_api_loads_nothing_from_elsewhere(browser, served):
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    requested, errors = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(f"{served.url}/docs")
    expect(page.get_by_text("/v1/recommend")).to_be_visible(timeout=TIMEOUT)
    expect(page.get_by_text("/v1/admin/keys").first).to_be_visible(timeout=TIMEOUT)
    assert not errors
    assert all(url.startswith((f"{served.url}/", "data:")) for url in requested)
    context.close()
