// The whole: verdict, plots, totals.

const SAMPLES_MAX = 300;

let samples = [];

const perSecond = value => short(value) + "/s";

// Name, title, how a value is written, where the scale ends at least.
const PLOTS = [
  ["events", "Events in", perSecond, 2],
  ["deliveries", "Deliveries out", perSecond, 2],
  ["lag", "Delivery lag", moment, .001],
  ["clients", "Clients", short, 2],
];
const plots = Object.fromEntries(PLOTS.map(([name, title, write, least]) => {
  const says = { now: make("b", { id: name + "-now" }, "–"), note: make("small"), from: make("span"), peak: make("span") };
  const canvas = make("canvas", { id: name, role: "img", "aria-label": title });
  byId("plots").append(make("figure", { class: "card plot" },
    make("figcaption", {}, make("span", {}, title, says.note), says.now), canvas,
    make("div", { class: "axis", "aria-hidden": true }, says.from, says.peak, make("span", {}, "now"))));
  return [name, Object.assign(new Plot(canvas, write, least), { says })];
}));

function showLink(kind, words) {
  const link = byId("link");
  link.className = "chip " + kind;
  text(link, words);
}

/** What is on show is old: that must be seen wherever one looks. */
function showLost(since) {
  document.body.classList.add("stale");
  showLink("lost", "not reachable");
  byId("lost").hidden = false;
  text(byId("lost"), `ssecar is not reachable${since ? `. What is shown is from ${clock(since)}` : ""}. Trying again …`);
  text(byId("verdict-text"), "ssecar is not reachable");
  text(byId("verdict-why"), since ? "what is shown is from before" : "nothing is known yet");
  byId("verdict-mark").className = "mark";
  byId("waiting").hidden = true;
  document.title = "✕ ssecar is not reachable";
}

function showOverview(overview) {
  document.body.classList.remove("stale");
  byId("lost").hidden = true;
  showLink(overview.draining ? "waiting" : "live", overview.draining ? "draining" : "live");
  text(byId("version"), overview.version);
  text(byId("upstream"), "→ " + overview.upstream);
  byId("upstream").title = "--upstream " + overview.upstream;
  text(byId("uptime"), "up " + lasted(overview.now.at_ms - overview.started_ms));
  samples = overview.samples ?? [...samples, overview.now].slice(-SAMPLES_MAX);
  showVerdict(overview);
  showPlots(overview.now.at_ms);
  showTiles(overview);
  const advices = byId("advices");
  advices.hidden = !overview.advices.length;
  if (advices.textContent !== overview.advices.join("")) {
    advices.replaceChildren(...overview.advices.map(advice => make("li", {}, advice)));
  }
  document.title = (overview.breaker === "closed" ? "" : "⚠ ") + "ssecar: " + short(overview.clients) + " clients";
}

function showVerdict(overview) {
  const now = overview.now.at_ms;
  const last = overview.breaker_changes.at(-1);
  const streams = overview.upstream_subscriptions, sessions = overview.session_count, waiting = overview.session_states.waiting;
  const closed = () => {
    if (!sessions) return "Nobody reads";
    if (!streams) return "No stream is open";
    return waiting ? `Upstream is up for ${short(streams)} of ${short(sessions)}` : "Upstream is up";
  };
  const words = {
    closed: closed(),
    // One path's 503s open it, too, while the streams of others flow on.
    open: streams ? "Breaker is open" : "Upstream is down",
    "half-open": "Upstream is being tried",
  };
  text(byId("verdict-text"), words[overview.breaker]);
  const isMixed = overview.breaker === "closed" ? sessions && (!streams || waiting) : streams;
  byId("verdict-mark").className = "mark " + (isMixed ? "half-open" : overview.breaker);
  const since = `breaker ${overview.breaker} for ${lasted(now - last.at_ms)}`;
  const isSaid = overview.breaker === "closed" && streams && waiting;
  text(byId("verdict-why"), sessions && !isSaid ? `${short(streams)} of ${short(sessions)} streams open, ${since}` : since);
  byId("waiting").hidden = !waiting;
  text(byId("waiting-show"), view.state === "waiting" ? "Show all sessions" : waiting === 1 ? "Show the one that waits" : `Show the ${short(waiting)} that wait`);
  const from = drawTimeline(byId("timeline"), overview.breaker_changes, overview.started_ms, now);
  text(byId("timeline-from"), lasted(now - from) + " ago");
  text(byId("timeline-middle"), lasted((now - from) / 2) + " ago");
}

byId("waiting-show").onclick = () => showWaiting();
byId("waiting-retry").onclick = async () => {
  try {
    const { sessions } = await (await ask("/api/retry", { method: "POST" })).json();
    text(byId("waiting-outcome"), `Asked for ${sessions}.`);
  } catch (error) {
    text(byId("waiting-outcome"), "That failed: " + error.message);
  }
};

function showPlots(now) {
  const rate = field => samples.slice(1).map((sample, index) => {
    const seconds = Math.max((sample.at_ms - samples[index].at_ms) / 1000, .2);
    return [sample.at_ms, Math.max(0, (sample[field] - samples[index][field]) / seconds)];
  });
  const level = field => samples.map(sample => [sample.at_ms, sample[field]]);
  const bytes = rate("delivered_bytes").at(-1)?.[1] ?? 0;
  showPlot("events", [rate("events")], now, "");
  showPlot("deliveries", [rate("deliveries")], now, size(bytes) + "/s");
  showPlot("lag", [level("lag_p99_seconds"), level("lag_p50_seconds")], now, "99 %, dashed 50 %");
  showPlot("clients", [level("clients")], now, "");
}

function showPlot(name, lines, now, note) {
  const plot = plots[name];
  const newest = lines[0].at(-1)?.[1] ?? null;
  const peak = Math.max(0, ...lines[0].map(point => point[1] ?? 0));
  const written = newest === null ? "–" : plot.write(newest);
  text(plot.says.now, written);
  text(plot.says.note, note);
  text(plot.says.peak, "peak " + plot.write(peak));
  const span = plot.show(lines, now);
  text(plot.says.from, ago(span));
  plot.canvas.setAttribute("aria-label", `${name}: now ${newest === null ? "nothing" : written}, at most ${plot.write(peak)} in the last ${lasted(span)}`);
}

const tiles = new Map();

function tile(name, value, note, kind = "") {
  let parts = tiles.get(name);
  if (!parts) {
    parts = { value: document.createTextNode(""), note: make("small"), box: make("div") };
    parts.figure = make("dd", {}, parts.value, parts.note);
    parts.box.append(make("dt", {}, name), parts.figure);
    tiles.set(name, parts);
    byId("tiles").append(parts.box);
  }
  text(parts.value, value);
  text(parts.note, note);
  parts.box.className = kind;
  return parts;
}

/** A count since the start; what came in the last minutes makes it warm. */
function tally(name, total, field, otherwise, kinds = "") {
  const recent = samples.length ? samples.at(-1)[field] - samples[0][field] : 0;
  const span = samples.length ? lasted(Math.round((samples.at(-1).at_ms - samples[0].at_ms) / 10_000) * 10_000) : "";
  tile(name, short(total), recent > 0 ? `${short(recent)} in ${span}${kinds && ". All: " + kinds}` : kinds || otherwise, recent > 0 ? "warm" : "");
}

function showTiles(overview) {
  const counts = object => Object.entries(object).filter(([, count]) => count).map(([name, count]) => `${short(count)} ${name}`).join(", ");
  const gaps = Object.values(overview.gaps).reduce((sum, count) => sum + count, 0);
  tile("Sessions", short(overview.session_count), counts(overview.session_states) || "none");
  tile("Connections", short(overview.connections), `${short(overview.clients)} read streams`);
  const memory = tile("Kept for replay", size(overview.log_bytes), `of ${size(overview.memory_budget_bytes)}`);
  memory.bar ??= memory.figure.appendChild(make("span", { class: "track", "aria-hidden": true }, make("i")));
  memory.bar.firstChild.style.width = Math.min(100, (overview.log_bytes / overview.memory_budget_bytes) * 100).toFixed(1) + "%";
  memory.bar.className = "track" + (overview.log_bytes > .9 * overview.memory_budget_bytes ? " warm" : "");
  tally("Gaps", gaps, "gaps", "none so far", counts(overview.gaps));
  tally("Slow clients", overview.clients_slow, "clients_slow", "over --client-lag");
  tally("Reaped clients", overview.clients_reaped, "clients_reaped", "took nothing");
  tile("Caught up", short(overview.catch_ups), "by private streams");
  tally("Refused", overview.refused, "refused", "by a limit");
  if (overview.state_write_failures) {
    tile("State not written", short(overview.state_write_failures), "--state-dir fails: see the log", "alarm");
  }
}
