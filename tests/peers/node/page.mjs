// The admin page in Chromium: page.mjs URL PICTURES. Prints what it wants of the service, and `ok` at the end.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
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
const names = () => page.locator("#rows tr:not([hidden]) td.name").allTextContents();

// Rendered: the verdict, the plots' numbers, the sessions with most clients first.
await page.goto(url);
await shows("#verdict-text", /Upstream is up/);
await shows("#deliveries-now", /[1-9].*\/s/);
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

// By keyboard: filtered, chosen, left.
await page.keyboard.press("/");
await page.keyboard.type("rooms/1/");
await shows("#range", /1–1 of 1$/);
await page.keyboard.press("ArrowDown");
await page.keyboard.press("Enter");
await shows("#detail-name", /rooms\/1\/events/);
assert.equal(await page.evaluate(() => document.activeElement.id), "detail-name");

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
await picture("down");
console.log("start");
await shows("#verdict-text", /Upstream is up/);
await page.waitForFunction(() => document.querySelectorAll("#timeline rect.open").length > 0);
await shows("#verdict-why", new RegExp(`${total} of ${total} streams open`));

// Pictures, for people: light, dark, narrow.
await page.click("#rows tr >> nth=0");
await shows("#detail-name", /rooms/);
await page.waitForFunction(() => document.querySelectorAll("#tail li").length >= 5);
await picture("light");
await page.click("#theme");
await page.click("#theme");
await shows("#theme", /dark/);
await picture("dark");
await page.setViewportSize({ width: 390, height: 844 });
await picture("narrow-details");
await page.keyboard.press("Escape");
await page.evaluate(() => scrollTo(0, 0));
await picture("narrow");
await page.locator("#rows tr >> nth=3").scrollIntoViewIfNeeded();
await picture("narrow-sessions");
const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
assert.ok(overflow <= 0, `nothing sticks out: ${overflow} px`);
await page.setViewportSize({ width: 1440, height: 1150 });

await page.click("#rows tr >> nth=0");
await shows("#detail-name", /rooms/);

// A session is ended; its row goes or comes anew, and the details say it.
await page.click("#end");
await page.click("#sure-yes");
await shows("#outcome", /has ended|session ends/);

assert.deepEqual(wrong.filter(text => !/404|409/.test(text)), []);
await browser.close();
console.log("ok");
