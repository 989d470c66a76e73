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
