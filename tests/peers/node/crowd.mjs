// The admin page while many read: crowd.mjs URL. Prints how it fares, as JSON.
import { launch } from "./browser.mjs";

const [url] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage();
page.setDefaultTimeout(60_000);
let received = 0;
const network = await page.context().newCDPSession(page);
await network.send("Network.enable");
network.on("Network.dataReceived", ({ encodedDataLength, dataLength }) => { received += encodedDataLength || dataLength; });
await page.goto(url);
await page.waitForFunction(() => document.querySelector("#link").textContent === "live");
await page.click("#rows tr >> nth=0");
await page.waitForFunction(() => document.querySelectorAll("#tail li").length > 0);

// The longest time between two pictures while everything moves.
received = 0;
const frames = await page.evaluate(async seconds => {
  const gaps = [];
  const end = performance.now() + seconds * 1000;
  for (let last = performance.now(); last < end;) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  return gaps.sort((left, right) => left - right);
}, 8);
const bytes_a_second = Math.round(received / 8);

// From a click on a head to the sorted rows.
const clicks = [];
for (const field of ["name", "lag", "clients", "state"]) {
  const start = Date.now();
  await page.click(`#heads th[data-field=${field}] button`);
  await page.waitForSelector(`th[data-field=${field}]:not([aria-sort=none])`);
  clicks.push(Date.now() - start);
}
await browser.close();
console.log(JSON.stringify({ slowest_click_ms: Math.max(...clicks), longest_frame_ms: Math.round(frames.at(-1)), bytes_a_second }));
