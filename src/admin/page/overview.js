// The whole: verdict, plots, totals.

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
