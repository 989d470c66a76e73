// The session that was chosen: its state, its clients, what to do about them, its tail.

const GUEST_ROWS = 20, TAIL_ROWS = 200;

const chosen = { id: null, stop: null, isPaused: false, isEnded: false, isFollowing: true, waiting: [], isDrawn: true };

// Where there is no room beside the sessions, the details lie over all.
const isSheet = matchMedia("(max-width: 70rem)");

/** Room is made or given back; the row in question stays where the eye is. */
function showPlace() {
  const tr = (rows.find(parts => parts.id && parts.id === chosen.id) ?? rows.find(parts => parts.tr.className))?.tr;
  const before = tr?.getBoundingClientRect().top;
  const isOpen = chosen.id !== null;
  byId("layout").className = isOpen ? "layout open" : "layout";
  byId("detail").hidden = !isOpen;
  byId("main").inert = byId("bar").inert = isOpen && isSheet.matches;
  if (tr) scrollBy({ top: tr.getBoundingClientRect().top - before, behavior: "instant" });
}
isSheet.addEventListener("change", showPlace);

function choose(id) {
  if (!id || id === chosen.id) return;
  chosen.stop?.abort();
  chosen.waiting = [];
  chosen.id = id;
  chosen.isEnded = false;
  chosen.isFollowing = true;
  chosen.stop = new AbortController();
  byId("tail").replaceChildren();
  byId("tail-none").hidden = false;
  byId("guests").replaceChildren();
  byId("detail").scrollTop = 0;
  for (const name of ["outcome", "detail-name", "guests-count"]) text(byId(name), "");
  byId("facts").replaceChildren();
  byId("error").hidden = byId("guests-none").hidden = true;
  setPaused(false);
  showPlace();
  markChosen();
  keepPlace();
  refreshChosen();
  followTail(id, chosen.stop.signal);
}

function leave() {
  chosen.stop?.abort();
  const row = rows.find(parts => parts.id && parts.id === chosen.id);
  chosen.id = null;
  chosen.waiting = [];
  showPlace();
  markChosen();
  keepPlace();
  (row ?? rows[0])?.button.focus();
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
  if (chosen.isEnded) return;
  chosen.isEnded = true;
  text(byId("outcome"), "This session has ended.");
  if (!byId("detail-name").textContent) text(byId("detail-name"), "#" + chosen.id);
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
    Id: session.id,
    Ring: `${session.ring_events} of ${session.ring_events_max} events, ${size(session.log_bytes)}`,
    "Slowest client": session.slowest ? session.slowest.bytes ? `${size(session.slowest.bytes)} of ${size(session.lag_bytes_max)} behind` : "up to date" : "–",
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
  byId("guests-none").hidden = answer.total > 0;
  text(byId("guests-count"), answer.total > answer.clients.length ? `${answer.total}; the ${answer.clients.length} furthest behind` : answer.total);
  // By id, so that a button keeps its focus while numbers change.
  const known = new Map([...body.children].map(tr => [tr.dataset.id, tr]));
  const wanted = answer.clients.map(client => {
    let tr = known.get(String(client.id));
    if (!tr) {
      const button = make("button", { type: "button", class: "danger", "aria-label": "Close client " + (client.peer ?? client.id), title: "Close this client" }, "✕");
      button.onclick = () => act("POST", `/clients/${client.id}/close`, `Close the client ${client.peer ?? ""}? It may come back.`, "Client closed.");
      tr = make("tr", { "data-id": client.id }, make("td"), make("td", { class: "n" }), make("td", { class: "n got" }), make("td", { class: "n" }), make("td", { class: "n" }, button));
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
  list.append(...chosen.waiting.map(entry => {
    if (entry.note) return make("li", { class: "note" }, entry.note);
    const cut = entry.bytes > new TextEncoder().encode(entry.data).length ? ` … ${size(entry.bytes)}` : "";
    return make("li", {}, make("span", { class: "kind" }, entry.type), " ", make("span", { class: "id" }, entry.id ?? "(no id)"), "\n" + entry.data + cut);
  }));
  chosen.waiting = [];
  while (list.childElementCount > TAIL_ROWS) list.firstChild.remove();
  byId("tail-none").hidden = list.childElementCount > 0;
  followEnd();
}

/** Whoever scrolled up reads on in peace. */
function followEnd() {
  const box = byId("tail-box");
  if (chosen.isFollowing) box.scrollTop = box.scrollHeight;
}
byId("tail-box").onscroll = ({ target }) => { chosen.isFollowing = target.scrollHeight - target.scrollTop - target.clientHeight < 24; };
new ResizeObserver(followEnd).observe(byId("tail-box"));

function setPaused(isPaused) {
  chosen.isPaused = isPaused;
  const button = byId("tail-pause");
  button.setAttribute("aria-pressed", isPaused);
  text(button, isPaused ? "Go on" : "Pause");
  text(byId("tail-state"), "");
  if (!isPaused && chosen.waiting.length) drawTail();
}
byId("tail-pause").onclick = () => setPaused(!chosen.isPaused);
