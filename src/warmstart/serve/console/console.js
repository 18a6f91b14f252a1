// The console. All content comes from the API and is inserted as text, never as HTML.

const STORAGE_KEY = "warmstart-key";
const POLL_SECONDS = 3; // between two updates of the health and of the written items
const PUBLISH_TIMEOUT = 30_000; // ms that a published item is followed

const byId = (id) => document.getElementById(id);
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

let key = sessionStorage.getItem(STORAGE_KEY) ?? "";
let model = null;

async function call(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const json = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(path, { method, headers, body: json }).catch(() => {
    throw new Error("the service does not answer");
  });
  const content = await response.json().catch(() => null);
  if (!response.ok) {
    const detail = content?.detail ?? `the service answered with status ${response.status}`;
    const fields = (content?.errors ?? []).filter((e) => e.detail !== detail);
    const error = new Error([detail, ...fields.map((e) => `${e.pointer}: ${e.detail}`)].join("; "));
    error.status = response.status;
    throw error;
  }
  return content;
}

// -- errors --

let errorSource = null; // the form whose error is shown, or "poll"
let errorShown = null;

function showError(source, error) {
  errorSource = source;
  errorShown = error;
  byId("error").hidden = false;
  if (byId("error").textContent !== error.message) byId("error").textContent = error.message;
}

function clearError() {
  byId("error").hidden = true;
  byId("error").textContent = "";
  errorSource = errorShown = null;
}

// Buttons stay enabled while a request runs: disabling one would take the focus away from it.
function onSubmit(form, work, clear = () => {}) {
  byId(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    if (byId(form).ariaBusy === "true") return;
    byId(form).ariaBusy = "true";
    const before = errorShown;
    try {
      await work();
      if (errorShown === before) clearError(); // a later error belongs to another form
    } catch (error) {
      clear();
      showError(form, error);
    } finally {
      byId(form).ariaBusy = "false";
    }
  });
}

// -- elements --

function element(tag, content, className = "") {
  const node = document.createElement(tag);
  node.append(content instanceof Node ? content : String(content));
  node.className = className;
  return node;
}

function row(...cells) {
  const line = document.createElement("tr");
  line.append(...cells);
  return line;
}

const nameCell = (content) => element("td", content, "name");

// An item as people read it: its title, and its id beside it.
function itemName(id, columns) {
  const title = model.title_column ? columns?.[model.title_column] : null;
  const name = element("span", Array.isArray(title) ? title.join(", ") : title || id, "item");
  const both = element("span", name);
  if (title) both.append(" ", element("span", id, "id"));
  return both;
}

const columnsOf = (item) => (model.title_column ? item.columns : null);
const titleOf = (item) => columnsOf(item)?.[model.title_column] || item.item;
const can = (ability) => model.abilities.includes(ability);
const withGenres = () => (model.genre_column ? [model.genre_column] : []);
const withTitle = () => (model.title_column ? [model.title_column] : []);

const shortCell = (content) => element("td", content, "short");

// A picture of a number; the text beside it has the same value, so a screen reader skips it.
function barCell(share, text) {
  const bar = document.createElement("meter");
  bar.value = share;
  bar.ariaHidden = "true";
  const cell = element("td", bar, "short");
  cell.append(text);
  return cell;
}

function fillTable(body, rows, textIfEmpty) {
  const empty = element("td", textIfEmpty);
  empty.colSpan = 9;
  byId(body).replaceChildren(...(rows.length ? rows : [row(empty)]));
}

// -- the model --

async function connect() {
  model = null;
  byId("work").hidden = true;
  byId("welcome").hidden = false;
  byId("model").textContent = "";
  const info = await call("GET", "/v1/model");
  sessionStorage.setItem(STORAGE_KEY, key);
  const lms = Object.entries(info.language_models).map(([role, name]) => `, ${role} ${name}`);
  byId("model").textContent = `Model ${info.folder}: ${info.method}${lms.join("")}`;
  byId("columns").replaceChildren(...info.text_columns.flatMap(columnField));
  byId("work").hidden = false;
  byId("welcome").hidden = true;
  model = info;
  byId("show-users").hidden = !can("simulate");
  byId("talk").hidden = !can("converse");
  byId("control").hidden = byId("genres-head").hidden = !info.genre_column;
  startAgain();
  poll(); // not awaited: the form is ready for the next request
}

// The first of several text columns is usually a title, so it gets a single line.
function columnField(column, position, columns) {
  const label = element("label", column);
  const input = document.createElement(position || columns.length === 1 ? "textarea" : "input");
  label.htmlFor = input.id = `column-${position}`;
  input.dataset.column = column;
  return [label, input];
}

const columns = () =>
  Object.fromEntries(
    [...document.querySelectorAll("[data-column]")].map((f) => [f.dataset.column, f.value]),
  );

// -- a new item --

async function preview() {
  if (!can("simulate")) return; // Enter submits a form without a button, too
  const request = { columns: columns(), k: 10, with: withTitle() };
  const simulation = await call("POST", "/v1/simulate", request);
  const highest = Math.max(...simulation.users.map((u) => u.probability), Number.MIN_VALUE);
  const users = simulation.users.map((u) =>
    row(nameCell(u.user), barCell(u.probability / highest, percent(u.probability)), shortCell(u.rank)),
  );
  const nearest = simulation.nearest.map((n) =>
    row(nameCell(itemName(n.item, columnsOf(n))), shortCell(n.similarity.toFixed(2))),
  );
  fillTable("audience", users, "There are no users.");
  fillTable("nearest", nearest, "There are no items.");
  byId("users").replaceChildren(...simulation.users.map((u) => new Option(u.user)));
  const { exposure, capped_exposure: capped } = simulation;
  byId("exposure").textContent =
    `Exposure by its text: in the first 20 of ${percent(exposure)} of the users` +
    (capped < exposure ? `; capped at ${percent(capped)} until its first click.` : ".");
  byId("calibration").textContent = `Probabilities are ${simulation.calibration}.`;
  byId("preview").hidden = false;
}

function hidePreview() {
  byId("preview").hidden = true;
  byId("exposure").textContent = "";
}

async function publish() {
  const id = byId("item-id").value; // text, also for integer ids: a number is inexact above 2 ** 53
  const started = performance.now();
  const written = await call("POST", "/v1/items", { items: [{ id, columns: columns() }] });
  const { outcome } = written.items[0];
  byId("item-state").textContent = `${id}: ${outcome}, being encoded ...`;
  let message = `${id}: ${outcome}, still waiting; Health shows the number of waiting items.`;
  while (performance.now() - started < PUBLISH_TIMEOUT) {
    const item = await call("GET", `/v1/items/${encodeURIComponent(id)}`);
    if (item.state === "failed") throw new Error(`${id} cannot be encoded: ${item.error}`);
    if (item.state === "trained") {
      message = `${id}: ${outcome}; if it has clicks in the training data, its scores stay the same.`;
      break;
    }
    if (item.state === "unscored") {
      message = `${id}: ${outcome}; the model needs clicks to score it, so no list has it yet.`;
      break;
    }
    if (item.state === "ready" && !can("simulate") && (await isUpToDate(outcome))) {
      message = `${id}: ${outcome}, and can be recommended.`;
      break;
    }
    const user = item.state === "ready" && (await recommendedTo(item, outcome));
    if (user) {
      const ms = Math.round(performance.now() - started);
      const when = outcome === "unchanged" ? "as before" : `after ${ms} ms`;
      message = `${id}: ${outcome}, and recommended to ${user}, its likeliest user, ${when}.`;
      break;
    }
    await sleep(20);
  }
  byId("item-state").textContent = message;
  poll(); // not awaited, as above
}

// The likeliest user, once the item is in that user's list; else null. The list of an updated item
// shows the old text until the new one is encoded, so the queue must be empty too.
async function recommendedTo(item, outcome) {
  if (!(await isUpToDate(outcome))) return null;
  if (!item.simulated_users.length) return null;
  const { user } = item.simulated_users[0];
  const request = { user, k: 1, allow: [item.id], exclude_seen: false };
  const list = await call("POST", "/v1/recommend", request);
  return list.items.length ? user : null;
}

async function isUpToDate(outcome) {
  if (outcome !== "updated") return true;
  const status = await call("GET", "/v1/status");
  return !status.waiting && !status.behind;
}

// -- a user's list --

async function showList() {
  const user = byId("user").value;
  const request = { user, k: 20, explain: true, with: [...withTitle(), ...withGenres()] };
  if (byId("only-cold").checked) request.cold_share_min = 1;
  if (model.genre_column) request.control = control();
  const list = await call("POST", "/v1/recommend", request);
  const rows = list.items.map((hit) =>
    row(
      shortCell(hit.rank),
      kindCell(hit),
      itemWithEvidence(hit),
      ...(model.genre_column ? [element("td", genresOf(hit))] : []),
    ),
  );
  fillTable("list", rows, "There is no item left to recommend.");
  const cold = list.items.filter((hit) => hit.is_cold).length;
  byId("list-title").textContent = `Recommended to ${user}`;
  byId("list-state").textContent =
    `${list.items.length} items, ${cold} of them cold (too few clicks to be scored by them).` +
    (list.known_user ? "" : " The user is unknown to the model: the list is based on their clicks.");
  byId("list-table").hidden = false;
}

// What the fields ask for; the service refuses more than one wish, and what is out of range.
function control() {
  const wishes = {};
  for (const [name, id] of [["n_genres", "n-genres"], ["diversity", "diversity"]]) {
    if (byId(id).value) wishes[name] = Number(byId(id).value);
  }
  const genres = byId("genres").value.split("|").map((genre) => genre.trim()).filter(Boolean);
  if (genres.length) wishes.genres = genres;
  if (byId("calibrate").checked) wishes.calibrate = true;
  return wishes;
}

// A column of genres is a list, or text with | between the values.
function genresOf(hit) {
  const genres = hit.columns[model.genre_column];
  return Array.isArray(genres) ? genres.join(", ") : String(genres ?? "").split("|").join(", ");
}

const kindCell = (hit) => shortCell(hit.is_cold ? element("span", "cold", "cold") : "warm");

function itemWithEvidence(hit) {
  const cell = nameCell(itemName(hit.item, columnsOf(hit)));
  const similar = hit.evidence.similar_in_history.map(
    (s) => `${titleOf(s)} (${s.similarity.toFixed(2)})`,
  );
  if (similar.length) {
    cell.append(" ", element("span", `similar to ${similar.join(", ")}`, "evidence"));
  }
  return cell;
}

function hideList() {
  byId("list-table").hidden = true;
  byId("list-state").textContent = "";
}

// -- a conversation: all of it is sent with each message, and the service keeps none --

let said = [];

async function send() {
  const speaker = byId("as-system").checked ? "system" : "user";
  const messages = [...said, { speaker, text: byId("message").value }];
  const answer = await call("POST", "/v1/converse", { messages, k: 10, with: withTitle() });
  said = messages;
  byId("message").value = "";
  byId("messages").replaceChildren(...said.map(saidLine));
  const names = answer.mentioned.map((m) => `${m.title} (${m.item})`);
  byId("talk-state").textContent = names.length
    ? `Recognised in the messages: ${names.join(", ")}.`
    : "No item was recognised in the messages.";
  const rows = answer.items.map((hit) =>
    row(shortCell(hit.rank), kindCell(hit), nameCell(itemName(hit.item, columnsOf(hit)))),
  );
  fillTable("talk-list", rows, "There is no item left to recommend.");
  byId("talk-table").hidden = false;
}

function saidLine({ speaker, text }) {
  const line = element("li", element("span", speaker === "user" ? "User" : "System", "id"));
  line.append(" ", text);
  return line;
}

function startAgain() {
  said = [];
  byId("messages").replaceChildren();
  byId("talk-state").textContent = "";
  byId("talk-table").hidden = true;
}

// -- written items and health --

let shownRows = ""; // equal rows are not replaced: a screen reader may be in the middle of them

async function refresh() {
  const status = await call("GET", "/v1/status");
  showHealth(status);
  const { items } = await call("GET", "/v1/items?limit=20");
  const rows = items.map((item) => [
    item.id,
    item.columns,
    item.error ? `${item.state}: ${item.error}` : item.state,
    item.clicks,
    item.click_weight,
  ]);
  const newRows = JSON.stringify(rows);
  if (newRows === shownRows) return;
  shownRows = newRows;
  fillTable("warming", rows.map(warmingRow), "No item has been written yet.");
}

function warmingRow([id, columns, state, clicks, clickWeight]) {
  return row(
    nameCell(itemName(id, columns)),
    element("td", state),
    shortCell(clicks),
    barCell(clickWeight, percent(clickWeight)),
  );
}

// -- search --

async function search() {
  const words = byId("words").value;
  const { items } = await call("GET", `/v1/items?limit=20&search=${encodeURIComponent(words)}`);
  const rows = items.map((item) => {
    const button = element("button", itemName(item.id, item.columns), "link");
    button.type = "button";
    button.addEventListener("click", () => showItem(item.id).catch((e) => showError("search-form", e)));
    return row(nameCell(button), shortCell(item.state), shortCell(item.clicks));
  });
  fillTable("found", rows, "No item has these words in its title, its text or its id.");
  byId("found-table").hidden = false;
}

function hideFound() {
  byId("found-table").hidden = byId("picture").hidden = true;
}

// -- the picture of one item: its audience, and how far its clicks have warmed it up --

async function showItem(id) {
  const item = await call("GET", `/v1/items/${encodeURIComponent(id)}`);
  byId("picture-title").replaceChildren(itemName(item.id, item.columns));
  const likely = item.simulated_users.slice(0, 10);
  const highest = Math.max(...likely.map((u) => u.probability), Number.MIN_VALUE);
  const users = likely.map((u) =>
    row(nameCell(u.user), barCell(u.probability / highest, percent(u.probability))),
  );
  fillTable("item-audience", users, "No users were simulated for it.");
  byId("warming-text").textContent =
    item.state === "trained" && !item.clicks
      ? "It is in the training data, and nobody clicked it since."
      : `${item.clicks} users clicked it since the fit: clicks have ` +
        `${percent(item.click_weight)} of the weight in its score.`;
  byId("curve").replaceChildren(warmingCurve(item.clicks));
  byId("picture").hidden = false;
  byId("picture-title").focus();
}

// The weight of c clicks is c / (c + n): a curve, and the item's place on it.
function warmingCurve(clicks) {
  const [width, height, most] = [300, 90, Math.max(3 * model.prior_strength, 1.2 * clicks)];
  const at = (c) => [(c / most) * width, height * (1 - c / (c + model.prior_strength))];
  const points = Array.from({ length: 61 }, (_, n) => at((n / 60) * most).join(",")).join(" ");
  const [x, y] = at(clicks);
  const picture = drawing("svg", { viewBox: `-6 -6 ${width + 12} ${height + 12}`, "aria-hidden": "true" });
  picture.append(
    drawing("line", { x1: 0, y1: height, x2: width, y2: height, class: "axis" }),
    drawing("polyline", { points, class: "weight" }),
    drawing("circle", { cx: x, cy: y, r: 5, class: "now" }),
  );
  return picture;
}

function drawing(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function showHealth(status) {
  const values = {
    "Items": status.items,
    "Without clicks": status.cold,
    "Warming up": status.warming,
    "Waiting to be encoded": status.waiting,
    "Changes behind": status.behind ?? "unknown",
    "Store": status.store,
  };
  let state = "Up to date.";
  if (status.waiting || status.behind) state = "Catching up: some changes are not in the lists yet.";
  if (!status.store_reachable) {
    state = "The store does not answer: lists can be made, but nothing can be written.";
  }
  byId("health-state").textContent = state;
  byId("health").replaceChildren(
    ...Object.entries(values).map(([term, value]) => {
      const box = document.createElement("div");
      box.append(element("dt", term), element("dd", value));
      return box;
    }),
  );
}

// An error of a form stays until that form succeeds: polling neither replaces nor clears it.
async function poll() {
  try {
    await refresh();
    if (errorSource === "poll") clearError();
  } catch (error) {
    if (model && errorSource === null) showError("poll", error);
  }
}

async function pollForever() {
  while (true) {
    await sleep(1000 * POLL_SECONDS);
    if (model && !document.hidden) await poll();
  }
}

onSubmit("key-form", () => {
  key = byId("key").value.trim();
  return connect();
});
onSubmit("text-form", preview, hidePreview);
onSubmit("publish-form", publish, () => (byId("item-state").textContent = ""));
onSubmit("user-form", showList, hideList);
onSubmit("talk-form", send);
byId("new-talk").addEventListener("click", startAgain);
onSubmit("search-form", search, hideFound);

byId("key").value = key;
// A service may allow reading without a key, so this asks without one; a refusal is no error then.
const firstKey = key;
connect().catch((error) => {
  if (key === firstKey && (key || error.status !== 401)) showError("connect", error);
});
pollForever();
