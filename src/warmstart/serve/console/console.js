// The console: everything it shows comes from the API, and is put in as text, never as HTML.

const KEPT = "warmstart-key";
const SECONDS = 3; // between two looks at health and at the items that warm up
const PATIENCE = 30_000; // ms that a published item is watched

const at = (id) => document.getElementById(id);
const share = (value) => `${(100 * value).toFixed(1)} %`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

let key = sessionStorage.getItem(KEPT) ?? "";
let model = null;

async function call(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(path, { method, headers, body: sent }).catch(() => {
    throw new Error("the service does not answer");
  });
  const found = await answer.json().catch(() => null);
  if (!answer.ok) {
    const detail = found?.detail ?? `the service answered with status ${answer.status}`;
    const fields = (found?.errors ?? []).filter((e) => e.detail !== detail);
    const error = new Error([detail, ...fields.map((e) => `${e.pointer}: ${e.detail}`)].join("; "));
    error.status = answer.status;
    throw error;
  }
  return found;
}

// -- errors --

let failed = null; // what the error that is shown came from: a form, or the looks in between

function fail(source, error) {
  failed = source;
  at("error").hidden = false;
  if (at("error").textContent !== error.message) at("error").textContent = error.message;
}

function recover() {
  at("error").hidden = true;
  at("error").textContent = "";
  failed = null;
}

// Buttons are not disabled while a form works: the focus would be lost.
function on(form, work, clear = () => {}) {
  at(form).addEventListener("submit", async (event) => {
    event.preventDefault();
    if (at(form).ariaBusy === "true") return;
    at(form).ariaBusy = "true";
    try {
      await work();
      recover();
    } catch (error) {
      clear();
      fail(form, error);
    } finally {
      at(form).ariaBusy = "false";
    }
  });
}

// -- drawing --

function make(tag, content, className = "") {
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

const name = (content) => make("td", content, "name");
const short = (content) => make("td", content, "short");

function fill(body, rows, none) {
  const nothing = make("td", none);
  nothing.colSpan = 9;
  at(body).replaceChildren(...(rows.length ? rows : [row(nothing)]));
}

// -- the model --

async function start() {
  model = null;
  at("work").hidden = true;
  at("welcome").hidden = false;
  at("model").textContent = "";
  const found = await call("GET", "/v1/model");
  sessionStorage.setItem(KEPT, key);
  const reads = found.language_model ? `, language model ${found.language_model}` : "";
  at("model").textContent = `Model ${found.folder}: ${found.method}${reads}`;
  at("columns").replaceChildren(...found.text_columns.flatMap(field));
  at("work").hidden = false;
  at("welcome").hidden = true;
  model = found;
  await look();
}

// the first of several columns is short as a rule: a title
function field(column, place, columns) {
  const label = make("label", column);
  const input = document.createElement(place || columns.length === 1 ? "textarea" : "input");
  label.htmlFor = input.id = `column-${place}`;
  input.dataset.column = column;
  return [label, input];
}

const columns = () =>
  Object.fromEntries(
    [...document.querySelectorAll("[data-column]")].map((f) => [f.dataset.column, f.value]),
  );

// -- a new item --

async function preview() {
  const found = await call("POST", "/v1/simulate", { columns: columns(), k: 10 });
  const users = found.users.map((u) => row(name(u.user), short(share(u.probability)), short(u.rank)));
  const nearest = found.nearest.map((n) => row(name(n.item), short(n.similarity.toFixed(2))));
  fill("audience", users, "Nobody.");
  fill("nearest", nearest, "There are no items.");
  at("users").replaceChildren(...found.users.map((u) => new Option(u.user)));
  at("claim").textContent =
    `By its text it would stand among the first 20 of ${share(found.claim)} of the users` +
    (found.claim_granted < found.claim
      ? `; until somebody clicks it, it is held to ${share(found.claim_granted)}.`
      : ".");
  at("calibration").textContent = `Probabilities are ${found.calibration}.`;
  at("preview").hidden = false;
}

function hidePreview() {
  at("preview").hidden = true;
  at("claim").textContent = "";
}

async function publish() {
  // ids are integers in some models; the form has text
  const text = at("item-id").value;
  const number = /^-?\d+$/.test(text) ? Number(text) : NaN;
  const id = model.id_type === "integer" && Number.isSafeInteger(number) ? number : text;
  const started = performance.now();
  const written = await call("POST", "/v1/items", { items: [{ id, columns: columns() }] });
  const { outcome } = written.items[0];
  at("item-state").textContent = `${id}: ${outcome}, being read ...`;
  let told = `${id}: ${outcome}, and still waiting; Health tells how many items wait.`;
  while (performance.now() - started < PATIENCE) {
    const item = await call("GET", `/v1/items/${encodeURIComponent(id)}`);
    if (item.state === "failed") throw new Error(`${id} cannot be read: ${item.error}`);
    if (item.state === "trained") {
      told = `${id}: ${outcome}; it keeps the place that the model learned for it.`;
      break;
    }
    const user = item.state === "ready" && (await recommendedTo(item, outcome));
    if (user) {
      const ms = Math.round(performance.now() - started);
      const when = outcome === "unchanged" ? "as before" : `after ${ms} ms`;
      told = `${id}: ${outcome}, and recommended to ${user}, its likeliest user, ${when}.`;
      break;
    }
    await pause(20);
  }
  at("item-state").textContent = told;
  await look();
}

// Only a list shows that an item is in the lists. One that was there before must also be read anew.
async function recommendedTo(item, outcome) {
  if (outcome === "updated") {
    const status = await call("GET", "/v1/status");
    if (status.waiting || status.behind) return null;
  }
  const { user } = item.simulated_users[0];
  const ask = { user, k: 1, allow: [item.id], exclude_seen: false };
  const found = await call("POST", "/v1/recommend", ask);
  return found.items.length ? user : null;
}

// -- a user's list --

async function list() {
  const user = at("user").value;
  const ask = { user, k: 20, explain: true };
  if (at("only-cold").checked) ask.cold_share_min = 1;
  const found = await call("POST", "/v1/recommend", ask);
  const rows = found.items.map((hit) =>
    row(
      short(hit.rank),
      short(hit.is_cold ? make("span", "cold", "cold") : "warm"),
      reasoned(hit),
    ),
  );
  fill("list", rows, "There is nothing left to recommend.");
  const cold = found.items.filter((hit) => hit.is_cold).length;
  at("list-title").textContent = `Recommended to ${user}`;
  at("list-state").textContent =
    `${found.items.length} items, ${cold} of them cold: too few have clicked them to go by that.` +
    (found.known_user ? "" : " The model does not know this user; the list is made from their clicks.");
  at("list-table").hidden = false;
}

function reasoned(hit) {
  const cell = name(make("span", hit.item, "item"));
  const like = hit.why.because_of.map((b) => `${b.item} (${b.similarity.toFixed(2)})`);
  if (like.length) cell.append(" ", make("span", `like ${like.join(", ")}`, "why"));
  return cell;
}

function hideList() {
  at("list-table").hidden = true;
  at("list-state").textContent = "";
}

// -- what goes on --

let drawn = ""; // nothing is drawn anew that is the same: a screen reader may be reading it

async function refresh() {
  const status = await call("GET", "/v1/status");
  drawHealth(status);
  const { items } = await call("GET", "/v1/items?limit=20");
  const rows = items.map((i) => [i.id, i.error ? `${i.state}: ${i.error}` : i.state, i.clicks, i.warmth]);
  const now = JSON.stringify(rows);
  if (now === drawn) return;
  drawn = now;
  fill("warming", rows.map(warmingRow), "Nothing has been written yet.");
}

function warmingRow([id, state, clicks, warmth]) {
  const meter = document.createElement("meter");
  meter.value = warmth;
  meter.ariaHidden = "true"; // the number beside it says the same
  const cell = make("td", meter, "short");
  cell.append(share(warmth));
  return row(name(id), make("td", state), short(clicks), cell);
}

function drawHealth(status) {
  const facts = {
    "Items": status.items,
    "Without clicks": status.cold,
    "Warming up": status.warming,
    "Waiting to be read": status.waiting,
    "Changes behind": status.behind ?? "unknown",
    "Store": status.store,
  };
  let state = "Up to date.";
  if (status.waiting || status.behind) state = "Catching up: what was written is on its way.";
  if (!status.store_answers) state = "The store does not answer: lists are made, nothing can be written.";
  at("health-state").textContent = state;
  at("health").replaceChildren(
    ...Object.entries(facts).map(([term, fact]) => {
      const box = document.createElement("div");
      box.append(make("dt", term), make("dd", fact));
      return box;
    }),
  );
}

async function look() {
  try {
    await refresh();
    if (failed === "look") recover();
  } catch (error) {
    if (model && failed === null) fail("look", error);
  }
}

async function watch() {
  while (true) {
    await pause(1000 * SECONDS);
    if (model && !document.hidden) await look();
  }
}

on("key-form", () => {
  key = at("key").value.trim();
  return start();
});
on("text-form", preview, hidePreview);
on("publish-form", publish, () => (at("item-state").textContent = ""));
on("user-form", list, hideList);

at("key").value = key;
// A service may let anybody read: the first look needs no key, and is no error without one.
start().catch((error) => {
  if (key || error.status !== 401) fail("start", error);
});
watch();
