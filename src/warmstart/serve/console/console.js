// The console: everything it shows comes from the API, and is put in as text, never as HTML.

const at = (id) => document.getElementById(id);
let key = sessionStorage.getItem("warmstart-key") ?? "";
let model = null;

async function call(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(path, { method, headers, body: sent });
  const text = await answer.text();
  const found = text ? JSON.parse(text) : null;
  if (!answer.ok) {
    const fields = (found?.errors ?? []).map((e) => `${e.pointer}: ${e.detail}`);
    throw new Error([found?.detail ?? answer.statusText, ...fields].join(" - "));
  }
  return found;
}

function fail(error) {
  at("error").textContent = error.message;
  at("error").hidden = false;
}

async function attempt(work, button) {
  at("error").hidden = true;
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    fail(error);
  } finally {
    if (button) button.disabled = false;
  }
}

function row(...cells) {
  const line = document.createElement("tr");
  for (const content of cells) {
    const cell = document.createElement("td");
    cell.append(content instanceof Node ? content : String(content));
    line.append(cell);
  }
  return line;
}

function marked(text, name) {
  const mark = document.createElement("span");
  mark.className = name;
  mark.textContent = text;
  return mark;
}

// ids are integers in some models; the forms have text
const id = (text) => (model.id_type === "integer" && /^-?\d+$/.test(text) ? Number(text) : text);
const share = (value) => `${(100 * value).toFixed(1)} %`;

async function start() {
  model = await call("GET", "/v1/model");
  at("model").textContent =
    `${model.folder}: ${model.method}, ${model.language_model ?? "no language model"}`;
  at("columns").replaceChildren(
    ...model.text_columns.flatMap((name) => {
      const label = document.createElement("label");
      const field = document.createElement("textarea");
      label.textContent = name;
      label.htmlFor = field.id = `column-${name}`;
      field.name = name;
      return [label, field];
    }),
  );
  await refresh();
}

const columns = () =>
  Object.fromEntries([...at("columns").querySelectorAll("textarea")].map((f) => [f.name, f.value]));

async function preview() {
  const found = await call("POST", "/v1/simulate", { columns: columns(), k: 10 });
  at("audience").replaceChildren(
    ...found.users.map((u) => row(u.user, u.weight.toFixed(2), u.rank)),
  );
  at("nearest").replaceChildren(
    ...found.nearest.map((n) => row(n.item, n.similarity.toFixed(2))),
  );
  at("claim").textContent =
    `It would enter the first 20 of ${share(found.claim)} of the users` +
    (found.claim_granted < found.claim
      ? `; until it is clicked it is granted ${share(found.claim_granted)}.`
      : ".");
  at("preview").hidden = false;
}

async function publish() {
  const name = at("item-id").value;
  const started = performance.now();
  const written = await call("POST", "/v1/items", { items: [{ id: id(name), columns: columns() }] });
  at("item-state").textContent = `${name}: ${written.items[0].outcome}, being read ...`;
  for (let tries = 0; tries < 200; tries++) {
    const item = await call("GET", `/v1/items/${encodeURIComponent(name)}`);
    if (item.state === "failed") throw new Error(`${name} cannot be read: ${item.error}`);
    if (item.state !== "waiting") {
      const ms = Math.round(performance.now() - started);
      at("item-state").textContent = `${name}: ${written.items[0].outcome}, recommended after ${ms} ms.`;
      break;
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  await refresh();
}

async function list() {
  const user = at("user").value;
  const ask = { user: id(user), k: 20, explain: true };
  if (at("only-cold").checked) ask.cold_share_min = 1;
  const found = await call("POST", "/v1/recommend", ask);
  at("list").replaceChildren(
    ...found.items.map((hit) =>
      row(
        hit.rank,
        hit.item,
        hit.is_cold ? marked("cold", "cold") : "warm",
        hit.why.because_of.map((b) => `${b.item} (${b.similarity.toFixed(2)})`).join(", "),
      ),
    ),
  );
  at("list-state").textContent =
    `${found.items.length} items` +
    (found.known_user ? "." : "; the model does not know this user, their clicks stand in.");
  at("list-table").hidden = false;
}

async function refresh() {
  const [status, items] = await Promise.all([
    call("GET", "/v1/status"),
    call("GET", "/v1/items?limit=20"),
  ]);
  const facts = {
    items: status.items,
    cold: status.cold,
    warming: status.warming,
    waiting: status.waiting,
    "changes behind": status.behind ?? "unknown",
    store: status.store_answers ? status.store : `${status.store} does not answer`,
  };
  at("health").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => {
      const box = document.createElement("div");
      const term = document.createElement("dt");
      const fact = document.createElement("dd");
      term.textContent = name;
      fact.textContent = value;
      box.append(term, fact);
      return box;
    }),
  );
  at("warming").replaceChildren(
    ...items.items.map((item) => {
      const meter = document.createElement("meter");
      meter.value = item.warmth;
      meter.textContent = share(item.warmth);
      meter.title = share(item.warmth);
      meter.setAttribute("aria-label", `warmth ${share(item.warmth)}`);
      return row(item.id, item.state, item.clicks, meter);
    }),
  );
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  sessionStorage.setItem("warmstart-key", key);
  attempt(start, event.submitter);
});
at("item-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(event.submitter?.value === "publish" ? publish : preview, event.submitter);
});
at("user-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(list, event.submitter);
});
setInterval(() => {
  if (model && !document.hidden) refresh().catch(fail);
}, 3000);
attempt(start);
