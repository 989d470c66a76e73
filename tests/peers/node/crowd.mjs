// The admin page while many read: crowd.mjs URL SECONDS. Prints `watching` when it only looks on for so long, then how
// it fares, as JSON.
import { launch } from "./browser.mjs";

const [url, seconds] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 1440, height: 1000 } });
page.setDefaultTimeout(60_000);
let received = 0;
const network = await page.context().newCDPSession(page);
await network.send("Network.enable");
network.on("Network.dataReceived", ({ encodedDataLength, dataLength }) => { received += encodedDataLength || dataLength; });
await page.addInitScript(() => {
  window.seen = { tasks: [], interactions: [] };
  new PerformanceObserver(list => seen.tasks.push(...list.getEntries().map(entry => entry.duration))).observe({ type: "longtask" });
  // From the key or the button to the next picture, as Interaction to Next Paint counts it.
  new PerformanceObserver(list => seen.interactions.push(...list.getEntries().filter(entry => entry.interactionId).map(entry => entry.duration)))
    .observe({ type: "event", durationThreshold: 16 });
});
const opened = Date.now();
await page.goto(url);
await page.waitForFunction(() => document.querySelector("#link").textContent === "live" && document.querySelector("#rows tr"));
const load_ms = Date.now() - opened;

// The longest time between two pictures while everything moves, a session's tail included.
await page.click("#rows tr >> nth=0");
await page.waitForFunction(() => document.querySelectorAll("#tail li").length > 0);
received = 0;
console.log("watching");
const longest_frame_ms = await page.evaluate(async ms => {
  let longest = 0;
  const end = performance.now() + ms;
  for (let last = performance.now(); last < end;) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  return Math.round(longest);
}, seconds * 1000);
const bytes_a_second = Math.round(received / seconds);

// From an act to what was asked for being on show.
const acts = {};
const timed = async (name, act, shown, of) => {
  const start = Date.now();
  await act();
  await page.waitForFunction(shown, of);
  acts[name] = Math.max(acts[name] ?? 0, Date.now() - start);
};
for (const field of ["name", "lag", "state", "clients"]) {
  await timed("sort_ms", () => page.click(`#heads th[data-field=${field}] button`),
    field => document.querySelector(`th[data-field=${field}]`).getAttribute("aria-sort") !== "none", field);
}
await timed("filter_ms", () => page.locator("#filter").pressSequentially("rooms/77"),
  () => /^1–[0-9]+ of 1[01]$/.test(document.querySelector("#range").textContent));
await timed("open_ms", () => page.click("#rows tr >> nth=1"),
  () => /rooms\/77/.test(document.querySelector("#detail-name").textContent) && document.querySelector("#tail li"));
await page.fill("#filter", "");
await timed("turn_ms", () => page.click("#next"), () => /^26–/.test(document.querySelector("#range").textContent));
const { tasks, interactions } = await page.evaluate(() => seen);
await browser.close();
const most = list => Math.round(Math.max(0, ...list));
console.log(JSON.stringify({
  load_ms, ...acts, slowest_interaction_ms: most(interactions), long_tasks: tasks.length, longest_task_ms: most(tasks), longest_frame_ms, bytes_a_second,
}));
