// The page: one stream tells the overview each second; the sessions on show, and the one that was chosen,
// are asked for at its beat, and not while nobody looks.

const TOKEN = "ssecar-token", THEME = "ssecar-theme";
const PAGE_ROWS = 25, GUEST_ROWS = 20, TAIL_ROWS = 200;
// The stream tells something each second: this long without means that it broke unseen.
const SILENCE_MS = 10_000;
const RETRY_MS = [500, 1000, 2000, 5000];

const byId = id => document.getElementById(id);
const sleep = ms => new Promise(done => setTimeout(done, ms));

function text(element, value) {
  if (element.textContent !== String(value)) element.textContent = value;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// ---- asking

class Gone extends Error {}

let login = null;

/** Waits for a token, once for all who need it. */
function askToken(wasWrong) {
  login ??= new Promise(done => {
    byId("login-wrong").hidden = !wasWrong;
    byId("token").value = "";
    byId("login").showModal();
    byId("login-form").onsubmit = () => {
      sessionStorage.setItem(TOKEN, byId("token").value.trim());
      login = null;
      done();
    };
  });
  return login;
}
byId("login").addEventListener("cancel", event => event.preventDefault());

async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.status === 401) {
      await askToken(token !== null && token === sessionStorage.getItem(TOKEN));
      continue;
    }
    if (answer.status === 404) throw new Gone(path);
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer;
  }
}

const json = async path => (await ask(path)).json();

/** Reads an event stream to its end; `take` gets each event's type and data. */
async function read(path, signal, take) {
  const answer = await ask(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let type = "message", data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) type = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) take(type, JSON.parse(data));
    }
  }
}

// ---- the whole

const plots = {
  events: new Plot(byId("events"), " events/s"),
  deliveries: new Plot(byId("deliveries"), " deliveries/s"),
  clients: new Plot(byId("clients"), " clients"),
};
let samples = [];
let wasLost = false;

function showLink(kind, words) {
  const link = byId("link");
  link.className = "chip " + kind;
  text(link, words);
}

function showOverview(overview) {
  wasLost = false;
  showLink(overview.draining ? "waiting" : "live", overview.draining ? "draining" : "live");
  text(byId("version"), overview.version);
  text(byId("upstream"), "→ " + overview.upstream);
  samples = overview.samples ?? [...samples, overview.now].slice(-300);
  showVerdict(overview);
  showPlots(overview.now.at_ms);
  showTiles(overview);
  const advices = byId("advices");
  advices.hidden = !overview.advices.length;
  if (advices.childElementCount !== overview.advices.length) {
    advices.replaceChildren(...overview.advices.map(advice => make("li", {}, advice)));
  }
  document.title = (overview.breaker === "closed" ? "" : "⚠ ") + "ssecar: " + short(overview.clients) + " clients";
}

function showVerdict(overview) {
  const now = overview.now.at_ms;
  const last = overview.breaker_changes.at(-1);
  const streams = overview.upstream_subscriptions, sessions = overview.session_count;
  const words = {
    closed: sessions && !streams ? "No stream is open" : sessions ? "Upstream is up" : "Nobody reads",
    // One path's 503s open it, too, while the streams of others flow on.
    open: streams ? "Breaker is open" : "Upstream is down",
    "half-open": "Upstream is being tried",
  };
  text(byId("verdict-text"), words[overview.breaker]);
  const isMixed = overview.breaker === "closed" ? sessions && !streams : streams;
  byId("verdict-mark").className = "mark " + (isMixed ? "half-open" : overview.breaker);
  const since = `breaker ${overview.breaker} for ${lasted(now - last.at_ms)}`;
  text(byId("verdict-why"), sessions ? `${streams} of ${sessions} streams open, ${since}` : since);
  const from = drawTimeline(byId("timeline"), overview.breaker_changes, overview.started_ms, now);
  text(byId("timeline-from"), lasted(now - from) + " ago");
}

function showPlots(now) {
  const rate = field => samples.slice(1).map((sample, index) => {
    const seconds = Math.max((sample.at_ms - samples[index].at_ms) / 1000, .2);
    return [sample.at_ms, Math.max(0, (sample[field] - samples[index][field]) / seconds)];
  });
  const all = { events: rate("events"), deliveries: rate("deliveries"), clients: samples.map(sample => [sample.at_ms, sample.clients]) };
  for (const [name, points] of Object.entries(all)) {
    const unit = name === "clients" ? "" : "/s";
    const [newest, peak] = [points.at(-1)?.[1] ?? 0, Math.max(0, ...points.map(point => point[1]))];
    text(byId(name + "-now"), short(newest) + unit);
    text(byId(name + "-peak"), "peak " + short(peak) + unit);
    byId(name).setAttribute("aria-label", `${name}: now ${short(newest)}${unit}, at most ${short(peak)}${unit} in the last five minutes`);
    text(byId(name + "-from"), lasted(Math.round(plots[name].show(points, now) / 10_000) * 10_000) + " ago");
  }
}

const tiles = new Map();

function tile(name, value, note, isAlarm = false) {
  let parts = tiles.get(name);
  if (!parts) {
    parts = { value: document.createTextNode(""), note: make("small"), box: make("div") };
    parts.box.append(make("dt", {}, name), make("dd", {}, parts.value, parts.note));
    tiles.set(name, parts);
    byId("tiles").append(parts.box);
  }
  text(parts.value, value);
  text(parts.note, note);
  parts.box.className = isAlarm ? "alarm" : "";
  return parts;
}

function showTiles(overview) {
  const counts = object => Object.entries(object).filter(([, count]) => count).map(([name, count]) => `${short(count)} ${name}`).join(", ");
  const gaps = Object.values(overview.gaps).reduce((sum, count) => sum + count, 0);
  tile("Sessions", short(overview.session_count), `${short(overview.upstream_subscriptions)} streams open`);
  tile("Clients", short(overview.clients), `${short(overview.connections)} connections`);
  const memory = tile("Kept for replay", size(overview.log_bytes), `of ${size(overview.memory_budget_bytes)}`);
  memory.bar ??= memory.box.appendChild(make("span", { class: "track", "aria-hidden": true }, make("i")));
  memory.bar.firstChild.style.width = Math.min(100, (overview.log_bytes / overview.memory_budget_bytes) * 100).toFixed(1) + "%";
  memory.bar.className = "track" + (overview.log_bytes > .9 * overview.memory_budget_bytes ? " warm" : "");
  tile("Gaps", short(gaps), counts(overview.gaps) || "none so far");
  tile("Slow clients", short(overview.clients_slow), "over --client-lag");
  tile("Reaped clients", short(overview.clients_reaped), "took nothing");
  tile("Caught up", short(overview.catch_ups), "by private streams");
  tile("Refused", short(overview.refused), "by a limit");
  if (overview.state_write_failures) {
    tile("State not written", short(overview.state_write_failures), "--state-dir fails: see the log", true);
  }
}

// ---- the sessions

const COLUMNS = [
  ["Session", "name", "", "asc"], ["Upstream", "state", "", "asc"], ["Clients", "clients", "n", "desc"],
  ["Ring", "ring", "n", "desc"], ["Slowest client", "lag", "n", "desc"], ["Memory", "log_bytes", "n", "desc"], ["Failed", "failures", "n", "desc"],
];
const view = { sort: "clients", order: "desc", filter: "", state: "", offset: 0, matched: 0, isAsking: false, isStale: false };
const rows = [];

for (const [title, field, kind, first] of COLUMNS) {
  const button = make("button", { type: "button" }, title);
  const head = make("th", { scope: "col", class: kind, "data-field": field }, button);
  button.onclick = () => {
    view.order = view.sort !== field ? first : view.order === "asc" ? "desc" : "asc";
    view.sort = field;
    turn(0);
  };
  byId("heads").append(head);
}

function turn(offset) {
  view.offset = Math.max(0, offset);
  refreshSessions();
}

async function refreshSessions() {
  if (view.isAsking) { view.isStale = true; return; }
  view.isAsking = true;
  try {
    do {
      view.isStale = false;
      const query = new URLSearchParams({ sort: view.sort, order: view.order, offset: view.offset, limit: PAGE_ROWS });
      if (view.filter) query.set("filter", view.filter);
      if (view.state) query.set("state", view.state);
      showSessions(await json("/api/sessions?" + query));
    } while (view.isStale);
  } catch { /* The overview's stream says when ssecar is away; the next beat asks again. */ }
  view.isAsking = false;
}

function row(index) {
  if (rows[index]) return rows[index];
  const cells = COLUMNS.map(([title,, kind], column) => make("td", column ? { class: kind, "data-label": title } : { class: "name" }));
  const gauge = () => { const bar = make("i"); const track = make("span", { class: "track" }, bar); const label = make("span"); return { bar, track, label, box: make("span", { class: "gauge" }, label, track) }; };
  const parts = { cells, chip: make("span", { class: "chip" }), ring: gauge(), lag: gauge(), tr: make("tr", { tabindex: -1 }, ...cells) };
  cells[1].append(parts.chip);
  cells[3].append(parts.ring.box);
  cells[4].append(parts.lag.box);
  parts.tr.onclick = () => choose(parts.id);
  parts.tr.onfocus = () => { for (const other of rows) other.tr.tabIndex = other === parts ? 0 : -1; };
  rows[index] = parts;
  byId("rows").append(parts.tr);
  return parts;
}

function fill(gauge, label, share) {
  text(gauge.label, label);
  gauge.bar.style.width = Math.min(100, share * 100).toFixed(1) + "%";
}

function showSessions(answer) {
  view.matched = answer.matched;
  if (view.offset >= answer.matched && view.offset > 0) { view.offset = Math.floor(Math.max(0, answer.matched - 1) / PAGE_ROWS) * PAGE_ROWS; view.isStale = true; }
  for (const head of byId("heads").children) {
    const isSorted = head.dataset.field === view.sort;
    head.setAttribute("aria-sort", isSorted ? (view.order === "asc" ? "ascending" : "descending") : "none");
  }
  answer.sessions.forEach((session, index) => {
    const parts = row(index);
    const [name,, clients,,, memory, failed] = parts.cells;
    parts.id = session.id;
    parts.tr.hidden = false;
    parts.tr.setAttribute("aria-selected", session.id === chosen.id);
    text(name, session.name);
    name.title = session.name;
    parts.chip.className = "chip " + session.state;
    text(parts.chip, session.state + (session.failures ? ` (${session.failures} failed)` : ""));
    text(clients, short(session.clients));
    fill(parts.ring, `${session.ring_events}/${session.ring_events_max}`, session.ring_events / Math.max(1, session.ring_events_max));
    const lag = session.slowest?.bytes ?? 0, share = lag / session.lag_bytes_max;
    fill(parts.lag, session.slowest ? (lag ? size(lag) : "up to date") : "–", share);
    parts.lag.track.className = "track" + (share > .75 ? " hot" : share > .25 ? " warm" : "");
    text(memory, size(session.log_bytes));
    text(failed, `${short(session.attempts_failed)} of ${short(session.attempts)}`);
  });
  for (const parts of rows.slice(answer.sessions.length)) { parts.tr.hidden = true; parts.id = null; }
  if (!rows.some(parts => parts.tr.tabIndex === 0 && !parts.tr.hidden) && rows[0]) rows[0].tr.tabIndex = 0;
  byId("none").hidden = answer.matched > 0;
  text(byId("none"), answer.total ? "No session matches." : "No session: nobody reads an event stream now.");
  const last = Math.min(view.offset + PAGE_ROWS, answer.matched);
  text(byId("range"), answer.matched ? `${view.offset + 1}–${last} of ${answer.matched}` : "0");
  byId("previous").disabled = view.offset === 0;
  byId("next").disabled = last >= answer.matched;
}

byId("filter").oninput = event => { view.filter = event.target.value; turn(0); };
byId("state").onchange = event => { view.state = event.target.value; turn(0); };
byId("previous").onclick = () => turn(view.offset - PAGE_ROWS);
byId("next").onclick = () => turn(view.offset + PAGE_ROWS);

// ---- the one that was chosen

const chosen = { id: null, stop: null, isPaused: false, waiting: [], isDrawn: true };

function choose(id) {
  if (!id || id === chosen.id) return;
  leave(false);
  chosen.id = id;
  chosen.stop = new AbortController();
  byId("split").className = "split open";
  byId("detail").hidden = false;
  byId("tail").replaceChildren();
  byId("guests").replaceChildren();
  text(byId("outcome"), "");
  setPaused(false);
  for (const parts of rows) parts.tr.setAttribute("aria-selected", parts.id === id);
  refreshChosen();
  followTail(id, chosen.stop.signal);
  if (matchMedia("(max-width: 70rem)").matches) byId("detail").scrollIntoView({ block: "start" });
}

function leave(isFocusBack = true) {
  chosen.stop?.abort();
  const row = rows.find(parts => parts.id && parts.id === chosen.id);
  chosen.id = null;
  chosen.waiting = [];
  byId("detail").hidden = true;
  byId("split").className = "split";
  for (const parts of rows) parts.tr.setAttribute("aria-selected", false);
  if (isFocusBack) (row ?? rows[0])?.tr.focus();
}

async function refreshChosen() {
  const id = chosen.id;
  if (!id) return;
  try {
    const [session, guests] = await Promise.all([json("/api/sessions/" + id), json(`/api/sessions/${id}/clients?limit=${GUEST_ROWS}`)]);
    if (id !== chosen.id) return;
    showChosen(session);
    showGuests(guests);
  } catch (error) {
    if (error instanceof Gone && id === chosen.id) showEnded();
  }
}

function showEnded() {
  text(byId("outcome"), "This session has ended.");
  byId("retry").disabled = byId("end").disabled = true;
  byId("guests").replaceChildren();
  text(byId("guests-count"), "");
}

function showChosen(session) {
  text(byId("detail-name"), session.name);
  const facts = {
    Upstream: session.state + (session.retry_in_ms === null ? "" : `, next try after ${lasted(session.retry_in_ms)}`),
    Attempts: `${session.attempts}, ${session.attempts_failed} failed`,
    "Newest event": `${session.epoch}.${session.newest}`,
    Ring: `${session.ring_events} of ${session.ring_events_max} events`,
    Memory: size(session.log_bytes),
    "Slowest client": session.slowest ? `${session.slowest.entries} entries, ${size(session.slowest.bytes)} of ${size(session.lag_bytes_max)}` : "–",
  };
  const box = byId("facts");
  if (!box.childElementCount) box.append(...Object.keys(facts).map(name => make("div", {}, make("dt", {}, name), make("dd"))));
  Object.values(facts).forEach((value, index) => text(box.children[index].lastChild, value));
  byId("error").hidden = !session.last_error;
  if (session.last_error) text(byId("error"), `Last error, ${clock(session.last_error.at_ms)}: ${session.last_error.text}`);
  byId("retry").disabled = session.state !== "waiting";
  byId("end").disabled = session.state === "gone";
}

function showGuests(answer) {
  const body = byId("guests");
  text(byId("guests-count"), answer.total > answer.clients.length ? `${answer.total}; the ${answer.clients.length} furthest behind` : answer.total);
  // By id, so that a button keeps its focus while numbers change.
  const known = new Map([...body.children].map(tr => [tr.dataset.id, tr]));
  const wanted = answer.clients.map(client => {
    let tr = known.get(String(client.id));
    if (!tr) {
      const button = make("button", { type: "button", class: "danger", "aria-label": "Close client " + (client.peer ?? client.id), title: "Close this client" }, "✕");
      button.onclick = () => act("POST", `/clients/${client.id}/close`, `Close the client ${client.peer ?? ""}? It may come back.`, "Client closed.");
      tr = make("tr", { "data-id": client.id }, make("td"), make("td", { class: "n" }), make("td", { class: "n" }), make("td", { class: "n" }), make("td", { class: "n" }, button));
    }
    const [peer, here, got, behind] = tr.children;
    text(peer, client.peer ?? "waits for its head");
    text(here, lasted(client.connected_seconds * 1000));
    text(got, size(client.bytes));
    text(behind, client.lag ? (client.lag.bytes ? size(client.lag.bytes) : "–") : "catches up");
    return tr;
  });
  if (wanted.length !== body.children.length || wanted.some((tr, index) => body.children[index] !== tr)) {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    body.replaceChildren(...wanted);
    if (focused?.isConnected) focused.focus();
  }
}

async function act(method, path, question, done) {
  const id = chosen.id;
  if (question) {
    text(byId("sure-text"), question);
    const dialog = byId("sure");
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise(closed => dialog.addEventListener("close", closed, { once: true }));
    if (dialog.returnValue !== "yes") return;
  }
  try {
    await ask(`/api/sessions/${id}${path}`, { method });
    text(byId("outcome"), done);
  } catch (error) {
    text(byId("outcome"), error instanceof Gone ? "It is gone already." : "That failed: " + error.message);
  }
  refreshChosen();
  refreshSessions();
}
byId("retry").onclick = () => act("POST", "/retry", null, "The upstream is asked.");
byId("end").onclick = () => act("DELETE", "", "End this session? Its clients are closed, and may come back to a fresh one.", "The session ends.");
byId("detail-close").onclick = () => leave();

// ---- its tail

async function followTail(id, signal) {
  text(byId("tail-state"), "");
  try {
    await read(`/api/sessions/${id}/tail`, signal, (type, data) => {
      if (type === "event") addToTail(data);
      else if (type === "skipped") addToTail({ note: "… more came than is shown …" });
      else if (type === "end") addToTail({ note: `The session ended: ${data.reason}.` });
    });
  } catch (error) {
    if (signal.aborted) return;
    addToTail({ note: error instanceof Gone ? "The session is gone." : "The tail broke off." });
  }
}

function addToTail(entry) {
  chosen.waiting.push(entry);
  if (chosen.waiting.length > TAIL_ROWS) chosen.waiting.shift();
  if (chosen.isPaused) text(byId("tail-state"), `${chosen.waiting.length} wait`);
  else if (chosen.isDrawn) { chosen.isDrawn = false; requestAnimationFrame(drawTail); }
}

function drawTail() {
  chosen.isDrawn = true;
  const list = byId("tail");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
  list.append(...chosen.waiting.map(entry => {
    if (entry.note) return make("li", { class: "note" }, entry.note);
    const cut = entry.bytes > new TextEncoder().encode(entry.data).length ? ` … ${size(entry.bytes)}` : "";
    return make("li", {}, make("span", { class: "kind" }, entry.type), " ", make("span", { class: "id" }, entry.id ?? "(no id)"), "\n" + entry.data + cut);
  }));
  chosen.waiting = [];
  while (list.childElementCount > TAIL_ROWS) list.firstChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function setPaused(isPaused) {
  chosen.isPaused = isPaused;
  const button = byId("tail-pause");
  button.setAttribute("aria-pressed", isPaused);
  text(button, isPaused ? "Go on" : "Pause");
  text(byId("tail-state"), "");
  if (!isPaused && chosen.waiting.length) drawTail();
}
byId("tail-pause").onclick = () => setPaused(!chosen.isPaused);

// ---- looks and keys

const THEMES = ["auto", "light", "dark"];
const isDark = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  localStorage.setItem(THEME, theme);
  document.documentElement.dataset.theme = theme === "auto" ? (isDark.matches ? "dark" : "light") : theme;
  text(byId("theme"), "Theme: " + theme);
  for (const plot of Object.values(plots)) plot.draw();
}
const theme = () => (THEMES.includes(localStorage.getItem(THEME)) ? localStorage.getItem(THEME) : "auto");
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
isDark.addEventListener("change", () => setTheme(theme()));
byId("theme").onclick = nextTheme;
byId("help-open").onclick = () => byId("help").showModal();

function step(by) {
  const shown = rows.filter(parts => parts.id && !parts.tr.hidden);
  const at = shown.findIndex(parts => parts.tr === document.activeElement);
  shown[Math.min(Math.max(at + by, 0), shown.length - 1)]?.tr.focus();
}

const KEYS = {
  "/": () => byId("filter").focus(), "?": () => byId("help").showModal(), t: nextTheme, p: () => byId("tail-pause").click(),
  j: () => step(1), k: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  n: () => byId("next").click(), b: () => byId("previous").click(), Escape: () => chosen.id && leave(),
};

addEventListener("keydown", event => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input, select")) {
    if (event.key === "Escape") target.blur();
    if (event.key === "ArrowDown" && target.id === "filter") { event.preventDefault(); step(1); }
    return;
  }
  if (event.key === "Enter" && target.matches("#rows tr")) {
    choose(rows.find(parts => parts.tr === target).id);
    byId("detail-name").focus();
    return;
  }
  // A list that scrolls keeps its arrows.
  if (event.key.startsWith("Arrow") && !target.matches("#rows tr, body")) return;
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

// ---- the beat

function beat() {
  if (document.hidden) return;
  refreshSessions();
  refreshChosen();
}
document.addEventListener("visibilitychange", beat);

async function watch() {
  for (let failures = 0;; failures += 1) {
    const stop = new AbortController();
    let silence;
    // Whoever looks for the token may take their time.
    const heard = () => { clearTimeout(silence); silence = setTimeout(() => (login ? heard() : stop.abort()), SILENCE_MS); };
    heard();
    try {
      await read("/api/stream", stop.signal, (_, overview) => {
        failures = 0;
        heard();
        showOverview(overview);
        beat();
      });
    } catch { /* Told below. */ }
    clearTimeout(silence);
    if (!wasLost) {
      wasLost = true;
      showLink("lost", "ssecar is not reachable");
      text(byId("verdict-text"), "ssecar is not reachable");
      text(byId("verdict-why"), "what is shown is from before");
      byId("verdict-mark").className = "mark";
    }
    await sleep(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
  }
}

setTheme(theme());
watch();
