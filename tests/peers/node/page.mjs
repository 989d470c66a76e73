// The admin page in Chromium: page.mjs URL PICTURES. Prints what it wants of the service (`stop`, `start`) and of ssecar
// (`lose`), and `ok` at the end.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { assertAccessible } from "./accessible.mjs";
import { launch } from "./browser.mjs";

const [url, pictures] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });
const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1440, height: 1150 }, colorScheme: "light" });
const page = await context.newPage();
page.setDefaultTimeout(30_000);
const wrong = [];
let away = false;
page.on("console", message => { if (message.type() === "error" && !away) wrong.push(message.text()); });
page.on("pageerror", error => wrong.push(String(error)));
page.on("request", request => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) wrong.push("fetches " + request.url());
});
const picture = name => page.screenshot({ path: `${pictures}/${name}.png` });
const shows = (selector, pattern) => page.waitForFunction(
  ([selector, source]) => new RegExp(source).test(document.querySelector(selector)?.textContent ?? ""), [selector, pattern.source]);
/** Neither out of the window nor out of its card, however wide the numbers are. */
async function assertNothingSticksOut() {
  const outside = await page.evaluate(() => {
    for (const [name, widest] of [["events", "99.9k/s"], ["deliveries", "99.9M/s"], ["lag", "999 ms"], ["clients", "99.9k"]]) {
      document.querySelector(`#${name}-now`).textContent = widest;
    }
    return [...document.querySelectorAll("header *, main *, aside *")].filter(element => {
      const { right, width } = element.getBoundingClientRect();
      const card = element.closest(".card, .tiles > div")?.getBoundingClientRect() ?? { right: innerWidth };
      return width > 1 && !element.closest("svg, .guests") && right > card.right + .5;
    }).map(element => element.outerHTML.slice(0, 80));
  });
  assert.deepEqual(outside, []);
}
const names = () => page.locator("#rows tr:not([hidden]) td.name").allTextContents();

// Rendered: the verdict, the plots' numbers, the sessions with most clients first.
await page.goto(url);
await shows("#verdict-text", /Upstream is up/);
await shows("#deliveries-now", /[1-9].*\/s/);
await shows("#lag-now", /^[0-9.]+ (µs|ms|s)$/);
await shows("#range", /1–25 of [0-9]+/);
assert.match((await names())[0], /rooms\/1\/events/);
assert.match(await page.getAttribute("#timeline", "aria-label"), /now closed/);
const total = Number((await page.textContent("#range")).split(" of ")[1]);

// Sorted by a click on a head, and again the other way round.
await page.click("#heads th[data-field=name] button");
await page.waitForSelector("th[data-field=name][aria-sort=ascending]");
assert.deepEqual(await names(), (await names()).toSorted());
await page.click("#heads th[data-field=name] button");
await page.waitForSelector("th[data-field=name][aria-sort=descending]");

// The tabulator leads to everything that can be used, in reading order, and where one is can be seen.
await page.reload();
await page.waitForSelector("th[data-field=name][aria-sort=descending]", { timeout: 30_000 });
await page.waitForSelector("#rows tr");
const reached = [];
for (let step = 0; step < 20; step += 1) {
  await page.keyboard.press("Tab");
  reached.push(await page.evaluate(() => {
    const { id, parentElement, tagName, textContent } = document.activeElement;
    if (getComputedStyle(document.activeElement).outlineStyle === "none") return "unseen";
    return id || parentElement.dataset.field || (parentElement.className.includes("name") ? "row" : tagName + textContent);
  }));
}
assert.deepEqual(reached.slice(0, 12), ["ATo the sessions", "theme", "help-open", "filter", "state", "next", "name", "state", "clients", "ring", "lag", "log_bytes"]);
assert.deepEqual(reached.slice(13, 15), ["row", "row"]);

// By keyboard: filtered, chosen, left.
await page.keyboard.press("/");
await page.keyboard.type("rooms/1/");
await shows("#range", /1–1 of 1$/);
await page.keyboard.press("ArrowDown");
await page.keyboard.press("Enter");
await shows("#detail-name", /rooms\/1\/events/);
assert.equal(await page.evaluate(() => document.activeElement.id), "detail-name");

await assertAccessible(page, "details in light");

// The address leads to the same view.
await page.reload();
await shows("#detail-name", /rooms\/1\/events/);
await shows("#range", /1–1 of 1$/);
assert.equal(await page.inputValue("#filter"), "rooms/1/");

// The tail moves; paused, it does not.
await page.waitForFunction(() => document.querySelectorAll("#tail li").length >= 3);
assert.match(await page.textContent("#tail li"), /(said|joined) .*\n?.*what is said in the room/);
await page.keyboard.press("p");
const stood = await page.locator("#tail li").count();
await shows("#tail-state", /[1-9][0-9]* wait/);
assert.equal(await page.locator("#tail li").count(), stood);
await page.keyboard.press("p");
await page.waitForFunction(count => document.querySelectorAll("#tail li").length > count, stood);

// A client is closed, after a question.
const guests = Number((await page.textContent("#guests-count")).split(";")[0]);
await page.click("#guests button >> nth=0");
await page.click("#sure-yes");
await shows("#outcome", /Client closed/);
await page.waitForFunction(count => Number(document.querySelector("#guests-count").textContent.split(";")[0]) === count - 1, guests);
await page.keyboard.press("Escape");
await page.waitForSelector("#detail", { state: "hidden" });
await page.fill("#filter", "");
await page.click("#heads th[data-field=clients] button");
await shows("#range", new RegExp(`1–25 of ${total}`));

// Pages.
await page.click("#next");
await shows("#range", /26–/);
await page.click("#previous");

// The service goes, and comes back: the verdict says so, and the history keeps it.
console.log("stop");
await shows("#verdict-text", /Upstream is (down|being tried)/);
await shows("#waiting-show", new RegExp(`the ${total} that wait`));
await assertAccessible(page, "down");
await picture("down");
await page.click("#waiting-retry");
await shows("#waiting-outcome", /^Asked for [0-9]+/);
await page.keyboard.press("w");
await page.waitForFunction(() => [...document.querySelectorAll("#rows tr:not([hidden]) .chip")].every(chip => chip.textContent.startsWith("waiting")));
assert.equal(await page.inputValue("#state"), "waiting");
console.log("start");
await shows("#verdict-text", /Upstream is up/);
await page.waitForFunction(() => document.querySelectorAll("#timeline rect.open").length > 0);
await shows("#verdict-why", new RegExp(`${total} of ${total} streams open`));
assert.equal(await page.isVisible("#waiting"), false);
await shows("#none", /No session matches/);
await page.click("#none button");
await shows("#range", new RegExp(`1–25 of ${total}`));

// Pictures, for people: light, dark, narrow.
await page.click("#rows tr >> nth=0");
await shows("#detail-name", /rooms/);
await page.waitForFunction(() => document.querySelectorAll("#tail li").length >= 5);
await picture("light");
for (const width of [1920, 1440, 1121, 820]) {
  await page.setViewportSize({ width, height: 1150 });
  await assertNothingSticksOut();
}
await page.setViewportSize({ width: 1440, height: 1150 });
await page.click("#theme");
await page.click("#theme");
await shows("#theme", /dark/);
await picture("dark");
await assertAccessible(page, "details in dark");
await page.keyboard.press("?");
await page.waitForSelector("#help[open]");
await assertAccessible(page, "help");
await page.keyboard.press("Escape");
await page.setViewportSize({ width: 360, height: 780 });
await picture("narrow-details");
await assertNothingSticksOut();
await assertAccessible(page, "details, narrow");
assert.equal(await page.evaluate(() => document.querySelector("#main").inert), true, "what is covered can't be reached");
await page.keyboard.press("Escape");
await page.evaluate(() => scrollTo(0, 0));
await picture("narrow");
await page.locator("#rows tr >> nth=3").scrollIntoViewIfNeeded();
await picture("narrow-sessions");
await assertAccessible(page, "narrow");
await assertNothingSticksOut();
await page.setViewportSize({ width: 1440, height: 1150 });

await page.click("#rows tr >> nth=0");
await shows("#detail-name", /rooms/);

// A session is ended; its row goes or comes anew, and the details say it.
await page.click("#end");
await page.click("#sure-yes");
await shows("#outcome", /has ended|session ends/);

// Without ssecar the page says so, wherever one looks.
away = true;
console.log("lose");
await shows("#lost", /not reachable/);
await shows("#verdict-text", /not reachable/);
assert.match(await page.title(), /not reachable/);
await assertAccessible(page, "lost");
await picture("lost");

assert.deepEqual(wrong.filter(text => !/404|409/.test(text)), []);
await browser.close();
console.log("ok");
