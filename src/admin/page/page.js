// One stream tells the overview each second; the sessions on show, and the one that was chosen, are asked
// for at its beat, and not while nobody looks. Looks and keys are here, too.

const THEME = "ssecar-theme";
// The stream tells something each second: this long without means that it broke unseen.
const SILENCE_MS = 10_000;
const RETRY_MS = [500, 1000, 2000, 5000];

const THEMES = ["auto", "light", "dark"];
const isDark = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  localStorage.setItem(THEME, theme);
  document.documentElement.dataset.theme = theme === "auto" ? (isDark.matches ? "dark" : "light") : theme;
  text(byId("theme-now"), theme);
  byId("theme").setAttribute("aria-label", "Theme: " + theme);
  for (const plot of Object.values(plots)) plot.draw();
}
const theme = () => (THEMES.includes(localStorage.getItem(THEME)) ? localStorage.getItem(THEME) : "auto");
const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
isDark.addEventListener("change", () => setTheme(theme()));
byId("theme").onclick = nextTheme;
byId("help-open").onclick = () => byId("help").showModal();

function step(by) {
  const shown = rows.filter(parts => parts.id && !parts.tr.hidden);
  const at = shown.findIndex(parts => parts.button === document.activeElement);
  // From elsewhere one comes to the session that is open, or to the first.
  const next = at < 0 ? Math.max(0, shown.findIndex(parts => parts.id === chosen.id)) : at + by;
  shown[Math.min(Math.max(next, 0), shown.length - 1)]?.button.focus();
}

const KEYS = {
  "/": () => byId("filter").focus(), "?": () => byId("help").showModal(), t: nextTheme, w: showWaiting, p: () => chosen.id && setPaused(!chosen.isPaused),
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
  // A list that scrolls keeps its arrows.
  if (event.key.startsWith("Arrow") && !target.matches("#rows button, body")) return;
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

/** What is on show stands in the address, so that a reload, or somebody else, finds it again. */
function keepPlace() {
  const place = new URLSearchParams();
  for (const [name, usual] of [["sort", "clients"], ["order", "desc"], ["filter", ""], ["state", ""]]) {
    if (view[name] !== usual) place.set(name, view[name]);
  }
  if (chosen.id) place.set("session", chosen.id);
  history.replaceState(null, "", location.pathname + (place.size ? "#" + place : ""));
}

function findPlace() {
  const place = new URLSearchParams(location.hash.slice(1));
  const known = (name, values) => { if (values.includes(place.get(name))) view[name] = place.get(name); };
  known("sort", COLUMNS.map(([, field]) => field));
  known("order", ["asc", "desc"]);
  known("state", [...byId("state").options].map(option => option.value || option.text));
  byId("state").value = view.state;
  byId("filter").value = view.filter = place.get("filter") ?? "";
  if (/^[0-9a-f]{16}$/.test(place.get("session"))) choose(place.get("session"));
}

function beat() {
  if (document.hidden) return;
  refreshSessions();
  refreshChosen();
}
document.addEventListener("visibilitychange", beat);

async function watch() {
  let seen = null;
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
        seen = overview.now.at_ms;
        showOverview(overview);
        beat();
      });
    } catch { /* Told below. */ }
    clearTimeout(silence);
    showLost(seen);
    await sleep(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
  }
}

setTheme(theme());
findPlace();
watch();
