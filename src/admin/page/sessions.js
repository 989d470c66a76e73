// The sessions, as they are sorted, filtered and cut into pages by ssecar.

const PAGE_ROWS = 25;

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
  keepPlace();
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
  const gauge = () => { const bar = make("i"); const track = make("span", { class: "track", "aria-hidden": true }, bar); const label = make("span"); return { bar, track, label, box: make("span", { class: "gauge" }, label, track) }; };
  const parts = { cells, name: make("span"), mark: make("small"), chip: make("span", { class: "chip" }), ring: gauge(), lag: gauge(), tr: make("tr", {}, ...cells) };
  parts.button = make("button", { type: "button", "aria-controls": "detail" }, parts.name, parts.mark);
  cells[0].append(parts.button);
  cells[1].append(parts.chip);
  cells[3].append(parts.ring.box);
  cells[4].append(parts.lag.box);
  parts.tr.onclick = event => {
    // A click that ends a selection of text was none.
    if (!getSelection().isCollapsed && !event.target.closest("button")) return;
    choose(parts.id);
    // By keyboard one goes on reading where the news is.
    if (event.detail === 0 || isSheet.matches) byId("detail-name").focus();
  };
  rows[index] = parts;
  byId("rows").append(parts.tr);
  return parts;
}

function markChosen() {
  for (const { tr, button, id } of rows) {
    const isChosen = id !== null && id === chosen.id;
    tr.className = isChosen ? "chosen" : "";
    button.setAttribute("aria-expanded", isChosen);
  }
}

function fill(gauge, label, share) {
  text(gauge.label, label);
  gauge.bar.style.width = Math.min(100, share * 100).toFixed(1) + "%";
}

function showSessions(answer) {
  view.matched = answer.matched;
  if (view.offset >= answer.matched && view.offset > 0) { view.offset = Math.floor(Math.max(0, answer.matched - 1) / PAGE_ROWS) * PAGE_ROWS; view.isStale = true; }
  const heads = [...byId("heads").children];
  for (const head of heads) {
    const isSorted = head.dataset.field === view.sort;
    head.setAttribute("aria-sort", isSorted ? (view.order === "asc" ? "ascending" : "descending") : "none");
  }
  const sorted = heads.findIndex(head => head.dataset.field === view.sort);
  // One path under several keys (a header differs): the id tells them apart.
  const names = new Map();
  for (const { name } of answer.sessions) names.set(name, (names.get(name) ?? 0) + 1);
  answer.sessions.forEach((session, index) => {
    const parts = row(index);
    const [,, clients,,, memory, failed] = parts.cells;
    parts.id = session.id;
    parts.tr.hidden = false;
    parts.cells.forEach((cell, column) => cell.classList.toggle("sorted", column === sorted));
    text(parts.name, session.name);
    text(parts.mark, names.get(session.name) > 1 ? " #" + session.id.slice(0, 6) : "");
    parts.button.title = session.name;
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
  markChosen();
  showNone(answer);
  const last = Math.min(view.offset + PAGE_ROWS, answer.matched);
  text(byId("range"), answer.matched ? `${view.offset + 1}–${last} of ${answer.matched}` : "0");
  byId("previous").disabled = view.offset === 0;
  byId("next").disabled = last >= answer.matched;
}

/** An empty table says why, and what to do. */
function showNone(answer) {
  const none = byId("none");
  none.hidden = answer.matched > 0;
  const kind = none.hidden ? "" : answer.total ? "filtered" : "empty";
  if (none.dataset.kind === kind) return;
  none.dataset.kind = kind;
  if (kind === "filtered") {
    const all = make("button", { type: "button" }, "Show all sessions");
    all.onclick = () => { showOnly("", ""); byId("filter").focus(); };
    none.replaceChildren(make("p", {}, "No session matches."), all);
  } else if (kind) {
    none.replaceChildren(make("p", {}, "Nobody reads an event stream now."),
      make("p", { class: "quiet" }, "A session appears here when the first client asks for one, as by ", make("code", {}, "curl -N http://…"), " on the address of --listen."));
  }
}

/** Filters by name and state, and shows so. */
function showOnly(filter, state) {
  byId("filter").value = view.filter = filter;
  byId("state").value = view.state = state;
  turn(0);
}
const showWaiting = () => showOnly("", view.state === "waiting" ? "" : "waiting");

byId("filter").oninput = event => { view.filter = event.target.value; turn(0); };
byId("state").onchange = event => { view.state = event.target.value; turn(0); };
byId("previous").onclick = () => turn(view.offset - PAGE_ROWS);
byId("next").onclick = () => turn(view.offset + PAGE_ROWS);
