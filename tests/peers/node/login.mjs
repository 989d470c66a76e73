// The admin page behind a token: login.mjs URL TOKEN. Prints `ok` at the end.
import assert from "node:assert/strict";
import { launch } from "./browser.mjs";

const [url, token] = process.argv.slice(2);
const browser = await launch();
const context = await browser.newContext();
const page = await context.newPage();
page.setDefaultTimeout(30_000);
await page.goto(url);
await page.waitForSelector("#login[open]");
assert.equal(await page.isVisible("#login-wrong"), false);
await page.fill("#token", token + "x");
await page.keyboard.press("Enter");
await page.waitForSelector("#login-wrong:not([hidden])");
await page.fill("#token", token);
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelector("#link").textContent === "live");
assert.equal(await page.isVisible("#login"), false);

// It is kept for this tab, over a reload, and for no other.
await page.reload();
await page.waitForFunction(() => document.querySelector("#link").textContent === "live");
const other = await context.newPage();
await other.goto(url);
await other.waitForSelector("#login[open]");
assert.ok(!page.url().includes(token));
await browser.close();
console.log("ok");
